"""What mkdocs does beyond docs/: pages that stand elsewhere in the repository join the site, and links between all of them hold in both."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

#: The site's name of each page, or picture, that the repository has outside docs/.
ELSEWHERE = {
    "README.md": "index.md",
    "spanmask/shard/FORMAT.md": "format.md",
    "bench/README.md": "speed.md",
    "bench/results/pretraining.png": "images/pretraining.png",
    "bench/results/spans.html": "grids/spans.html",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_SOURCES = {site: source for source, site in ELSEWHERE.items()}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures from elsewhere."""
    for source, site in ELSEWHERE.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs names it
    """Point links at the site's pages, and take them off files that are no part of it."""
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def pointed(link: re.Match[str]) -> str:
        text, path, anchor = link.groups(default="")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        site = ELSEWHERE.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(site) is None and (ROOT / target).exists():
            return text
        return f"[{text}]({posixpath.relpath(site, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return _LINK.sub(pointed, markdown)
