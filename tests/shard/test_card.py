"""The dataset card shows names from outside as text: no name makes a heading, a link, markup, a line of its own or a signal to a screen."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from spanmask.config import PreshardConfig
from spanmask.escaping import code_span, visible
from spanmask.presharding.run import preshard

NAMES = {
    "a newline and a heading": "a\n# Owned\n.txt",
    "a blank line and a table": "a\n\n| x | y |\n|---|---|\n.txt",
    "a second head": "a\n---\nlicense: none\n---\n.txt",
    "a link": "[press](javascript:alert(1)).txt",
    "an image after a backtick": "a`![x](q).txt",
    "a tag after a backtick": "a` <img src=x onerror=alert(1)> `.txt",
    "many backticks": "``` a `` b ` c ````.txt",
    "backticks at both ends": "`a.txt`",
    "one backtick": "`",
    "a pipe": "a | b | c.txt",
    "an escape code": "a\x1b[31mred\x07.txt",
    "a control of eight bits": "a\x9b31m.txt",
    "writing turned round": "a\u202etxt.exe",
    "spaces at both ends": " a.txt ",
    "a backslash": "a\\`b\\.txt",
    "braces": "{seed}{0}.txt",
}


def _parts(card: str) -> tuple[dict[str, object], list[str], list[str]]:
    """Return a card's head, the kinds of its blocks, and what it shows as code within lines."""
    _, head, body = card.split("---\n", 2)
    tokens = MarkdownIt().enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    kinds = [token.type for token in tokens] + [
        child.type for child in inline if child.type not in ("text", "softbreak")
    ]
    return yaml.safe_load(head), kinds, [child.content for child in inline if child.type == "code_inline"]


def _card(folder: Path, source: Path, vocab: str | None = None) -> str:
    options = {} if vocab is None else {"vocab": vocab, "cased": True}
    preshard(source, folder / "out", PreshardConfig.of(seed=1, format="text", **options), jobs=1)
    return (folder / "out" / "README.md").read_bytes().decode()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "a.txt").write_text("some words of text that go on for a while and then they end\n")
    return _card(folder, folder / "a.txt")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_the_name_of_an_input_is_text_in_the_card(tmp_path: Path, plain: str, name: str) -> None:
    (tmp_path / name).write_text("some words of text that go on for a while and then they end\n")
    card = _card(tmp_path, tmp_path / name)
    head, kinds, codes = _parts(card)
    plain_head, plain_kinds, _ = _parts(plain)
    assert (head, kinds) == (plain_head, plain_kinds)
    assert visible(name) in codes
    assert all(character.isprintable() or character == "\n" for character in card)


def test_the_name_of_a_vocabulary_is_text_in_the_card(tmp_path: Path, plain: str) -> None:
    (tmp_path / "a.txt").write_text("some words of text that go on for a while and then they end\n")
    name = "voc`\n# Owned [x](y) \x1b[2J.txt"
    with resources.as_file(resources.files("spanmask.data").joinpath("bert-base-cased-vocab.txt")) as vocab:
        shutil.copy(vocab, tmp_path / name)
    _, kinds, codes = _parts(_card(tmp_path, tmp_path / "a.txt", str(tmp_path / name)))
    assert kinds == _parts(plain)[1]
    assert visible(name) in codes


@pytest.mark.parametrize("name", [*NAMES.values(), "a", "`" * 9, "a``", "``a", " a", "a "])
def test_code_in_a_line_is_read_as_it_was_given(name: str) -> None:
    _, kinds, codes = _parts(f"---\n---\n| before | x |\n|---|---|\n\nbefore {code_span(name)} after")
    assert codes == [visible(name)]
    assert "link_open" not in kinds


def test_the_card_names_project_and_version_and_links_nowhere(plain: str) -> None:
    assert f"masked by spanmask {version('spanmask')}:" in plain
    assert not re.search(r"https?:|\]\(", plain)


def test_nothing_of_the_project_links_to_a_package_index() -> None:
    root = Path(__file__).resolve().parents[2]
    index = re.compile(rb"(pypi|anaconda)\.org|/project/spanmask")
    found = [
        path.relative_to(root).as_posix()
        for folder in ("spanmask", "cli", "bench", ".")
        for path in (root / folder).glob("*" if folder == "." else "**/*")
        if path.suffix in (".py", ".md", ".toml", ".html", ".json") and index.search(path.read_bytes())
    ]
    assert found == []
