"""README and the pages of docs/: every command and all Python on them runs, as it stands there, and does what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import trained
from pages import EXCEPTIONS, PAGES, ROOT, Step, code_in_prose, pattern, steps
from probes.task_files import write_task_files
from spanmask_cli.commands import COMMANDS, LazyGroup, cli
from spanmask_cli.probe import PROBES

#: What the pages name that is an option of other programs.
FOREIGN_OPTIONS = {"--strict"}
#: Goes behind every `spanmask train`, so that a schedule of days is one of seconds, and behind those with a model of days.
_SHORT = " --steps 2 --batch-size 4 --no-compile --device cpu"
_SMALL = " --model tiny"
#: Goes behind every `spanmask probe` that fine-tunes.
_QUICK = " --selection 0.3 --device cpu"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def write_texts(folder: Path) -> None:
    """Write what the pages take for granted: a reader's own files, made of the stories that ship."""
    parts = trained.stories().split("\n\n")
    stories = parts[:6]
    for name, texts, ending in (
        ("YOUR-TEXTS", stories, ".txt"),
        ("YOUR-HELD-OUT-TEXTS", parts[6:46], ".txt"),
        ("NOTES", stories, ""),
    ):
        (folder / name).mkdir()
        for number, text in enumerate(texts):
            (folder / name / (f"{number}{ending}" if ending else f"note{number}")).write_text(text)
    names = {"text": "Ada Lovelace met Charles Babbage.", "names": [[0, 12], [17, 32]]}
    (folder / "NAMES.jsonl").write_text(json.dumps(names) + "\n")
    records = [{"body": story, "url": f"poe/{number}"} for number, story in enumerate(stories)]
    (folder / "RECORDS.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "TAKEDOWN.txt").write_text(f"{records[1]['url']}\n")
    (folder / "EVALUATION.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": stories[2][:400]}]}]}))
    asked = [{"id": name, "answers": [{"text": "a blue sky"}] * (name != "q3")} for name in ("q1", "q2", "q3")]
    for name, questions in (("DEV.json", asked[:2]), ("DEV2.json", asked)):
        (folder / name).write_text(json.dumps({"data": [{"paragraphs": [{"qas": questions}]}]}))
    (folder / "ANSWERS.json").write_text(json.dumps({"q1": "Blue sky!"}))
    (folder / "ANSWERS2.json").write_text(json.dumps({"q1": "Blue sky!", "q2": "sky", "q3": "sea"}))
    (folder / "ODDS.json").write_text(json.dumps({"q1": -1.5, "q2": 0.25, "q3": 0.5}))
    write_task_files(folder)
    (folder / "YOUR-RECORDS").mkdir()
    (folder / "YOUR-RECORDS" / "0.jsonl").write_text(json.dumps({"id": "poe/0", "text": stories[0]}) + "\n")


def write_pipeline(folder: Path) -> None:
    """Write what stands for the pipeline that a reader fetched: rules, for which each word with a capital is a name."""
    spacy = pytest.importorskip("spacy", reason="spaCy is in the extras spacy and test")
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": [{"IS_TITLE": True}]}])
    nlp.to_disk(folder)


def run_command(line: str, folder: Path) -> str:
    """Run a command line in a folder, and return what it printed."""
    _, line = EXCEPTIONS.get(line, ("", line))
    if line is None:
        return ""
    if line.startswith("spanmask probe") and not line.startswith("spanmask probe compare"):
        line += _QUICK
    if line.startswith("spanmask train"):
        line += _SHORT + _SMALL * ("--model " in line)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ended.returncode == 0, f"{line}\n{ended.stdout}"
    return ended.stdout


def run_page(page: Path, folder: Path, names: dict[str, Any]) -> None:
    """Run the steps of a page in a folder, its Python with these names, and compare the outputs it tells.

    A command that README has was run before: every folder begins as README leaves it.
    """
    printed = ""
    done = set() if page == PAGES[0] else {step.text for step in steps(PAGES[0])}
    for step in steps(page):
        if step.kind == "command":
            printed = "" if step.text in done else run_command(step.text, folder)
        elif step.kind == "python":
            exec(compile(step.text, page.name, "exec"), names)
        elif step.kind == "output":
            missing = [line for line in step.text.splitlines() if not re.search(pattern(line), printed)]
            assert not missing, f"{page.name} tells lines that are not printed: {missing} in\n{printed}"
        else:
            (folder / step.kind).write_text(step.text)


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who did what README says."""
    folder = tmp_path_factory.mktemp("reader")
    write_texts(folder)
    run_page(PAGES[0], folder, {})
    return folder


@pytest.fixture
def reader(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Any]]:
    """Run a page in a copy of that folder, and return the names that its Python then has."""
    import datasets

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shutil.copytree(begun, tmp_path / "reader")
    monkeypatch.chdir(tmp_path / "reader")

    def run(page: Path) -> dict[str, Any]:
        names: dict[str, Any] = {}
        run_page(page, tmp_path / "reader", names)
        return names

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what trainers and torch say of machines like this one
@each_page
def test_all_that_a_page_has_one_type_runs(page: Path, reader: Callable[[Path], dict[str, Any]]) -> None:
    if page == PAGES[0] or page.stem == "cluster":
        return  # the folder that all others begin with; and what test_cluster_page.py runs with its servers
    if page.stem == "loading":
        pytest.importorskip("lightning", reason="lightning and torchdata are in the extra trainers")
    if page.stem == "annotating":
        write_pipeline(Path("en_core_web_sm"))
    names = reader(page)
    if page.stem == "loading":
        assert names["state"]["epoch"] == 1
        assert names["loss"].item() > 0


@each_page
def test_commands_stand_in_blocks_and_not_in_prose(page: Path) -> None:
    """In prose, `spanmask` has the name of a command behind it at most: what has more could not be run from there."""
    for code in code_in_prose(page):
        if code.startswith("spanmask "):
            assert code.removeprefix("spanmask ").removeprefix("probe ") in {*COMMANDS, *PROBES}, code


def options() -> set[str]:
    """Return every option of every command."""
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    commands += [
        group.get_command(click.Context(group), name)
        for group in commands
        if isinstance(group, LazyGroup)
        for name in group.list_commands(click.Context(group))
    ]
    return {
        name
        for command in commands
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


@each_page
def test_every_option_that_a_page_names_is_there(page: Path) -> None:
    named = {option for code in code_in_prose(page) for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)}
    assert named <= options() | FOREIGN_OPTIONS


def test_every_exception_is_on_a_page_and_has_its_reason() -> None:
    commands = {step.text for page in PAGES for step in steps(page) if step.kind == "command"}
    assert set(EXCEPTIONS) <= commands
    assert all(reason for reason, _ in EXCEPTIONS.values())


def test_a_line_that_is_not_printed_and_a_command_that_fails_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\necho one two three\n```\n\n```text\none … three\n```\n")
    run_page(page, tmp_path, {})
    page.write_text(page.read_text().replace("one …", "two …", 1).replace("three\n```\n", "four\n```\n"))
    with pytest.raises(AssertionError, match="not printed"):
        run_page(page, tmp_path, {})
    page.write_text("```sh\nfalse \\\n  # why\n```\n")
    with pytest.raises(AssertionError, match="false"):
        run_page(page, tmp_path, {})
    assert list(steps(page)) == [Step(kind="command", text="false")]


def test_readme_is_a_screen_and_a_half() -> None:
    """Of 72 lines; the table of speeds grows with what is measured, and is not counted."""
    readme = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = readme.partition("<!-- performance: made by")
    assert len((before + rest.partition("<!-- performance: end -->")[2]).splitlines()) <= 108


def test_a_wide_table_of_the_site_scrolls_by_itself() -> None:
    assert "extra_css: [site.css]" in (ROOT / "mkdocs.yml").read_text()
    assert re.search(r"table \{[^}]*display: block;[^}]*overflow-x: auto;", (ROOT / "docs" / "site.css").read_text())
