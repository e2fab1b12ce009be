"""`spanmask annotate` in processes of its own: the same bytes for any jobs and after any kill, and on real text through to an audit."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from annotating.conftest import TEXTS, read_lines, spacy, write_lines
from commands import COMMAND
from steps import FINISHED, KILLED, WATCHED, in_child, kill_at, steps_of

from spanmask.annotating import AnnotateConfig, annotate
from spanmask.annotating.parts import state_folder
from spanmask.annotating.record import record_path

PROSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose" / "enwiki2018.000.jsonl.zst"


def _begin(*arguments: object) -> subprocess.Popen[str]:
    line = [*COMMAND, "annotate", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def _run(*arguments: object) -> dict[str, Any]:
    process = _begin(*arguments, "--json")
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    summary: dict[str, Any] = json.loads(out)
    return summary


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A text of about 40 units of 4 KiB."""
    choose = random.Random(4)
    return write_lines(tmp_path / "long.jsonl", ["".join(choose.choices(TEXTS, k=40)) for _ in range(120)])


@pytest.mark.slow
def test_the_bytes_are_the_same_for_any_number_of_jobs(tmp_path: Path, rules: Path, long: Path) -> None:
    for jobs in (1, 2):
        options = ("--with", f"spacy:{rules}", "--spans", "entities", "--unit-bytes", 4096, "--keep", "id")
        _run(long, "--out", tmp_path / f"{jobs}.jsonl.zst", "--jobs", jobs, *options)
    outs = [tmp_path / f"{jobs}.jsonl.zst" for jobs in (1, 2)]
    assert len({out.read_bytes() for out in outs}) == 1
    assert len({record_path(out).read_bytes() for out in outs}) == 1
    assert len(read_lines(outs[0])) == 120


@pytest.mark.slow
@pytest.mark.faults
def test_a_run_killed_twice_and_resumed_with_other_jobs_has_the_same_bytes(
    tmp_path: Path, rules: Path, long: Path, tell: Callable[[str], None]
) -> None:
    options = (long, "--with", f"spacy:{rules}", "--spans", "entities", "--unit-bytes", "4096")
    _run(*options, "--out", tmp_path / "whole.jsonl.zst", "--jobs", 1)
    out, killed = tmp_path / "killed.jsonl.zst", []
    for jobs, least in ((1, 2), (2, 15)):
        process = _begin(*options, "--out", out, "--jobs", jobs, *["--resume"] * bool(killed))
        while process.poll() is None and len([*state_folder(out).glob("parts/0*")]) < least:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed.append(len([*state_folder(out).glob("parts/0*")]))
        assert not out.exists()
    tell(f"killed with {killed} units done")
    summary = _run(*options, "--out", out, "--jobs", 2, "--resume")
    assert out.read_bytes() == (tmp_path / "whole.jsonl.zst").read_bytes()
    assert summary["documents"] == 120
    assert {path.name for path in tmp_path.iterdir()} == {
        *("long.jsonl", "whole.jsonl.zst", "_whole.jsonl.zst.json", "killed.jsonl.zst", "_killed.jsonl.zst.json"),
        *(path.name for path in tmp_path.iterdir() if path.is_dir()),
    }
    assert not state_folder(out).exists()


@pytest.mark.slow
@pytest.mark.faults
def test_a_kill_at_any_step_loses_nothing_and_leaves_no_half_file(
    tmp_path: Path, rules: Path, count: Callable[[int], None]
) -> None:
    source = write_lines(tmp_path / "in.jsonl", ["".join(TEXTS) * 8] * 3)
    config = AnnotateConfig.of(pipeline=f"spacy:{rules}", spans="entities", unit_bytes=1024)
    annotate(source, tmp_path / "whole.jsonl", config, jobs=1)
    whole = (tmp_path / "whole.jsonl").read_bytes()

    def body(out: Path) -> Callable[[], object]:
        return lambda: annotate(source, out, config, jobs=1, resume=True)

    def place(number: int) -> Path:
        folder = tmp_path / f"{WATCHED}-{number}"
        folder.mkdir()
        return folder / "out.jsonl"

    steps = steps_of(body(place(0)), tmp_path)
    for number in range(1, len(steps) + 1):
        out = place(number)
        assert in_child(body(out), kill_at(number)) == KILLED, steps[number - 1]
        assert not out.exists() or out.read_bytes() == whole, steps[number - 1]
        assert in_child(body(out), lambda *_: None) == FINISHED, steps[number - 1]
        assert out.read_bytes() == whole, steps[number - 1]
        assert sorted(path.name for path in out.parent.iterdir()) == ["_out.jsonl.json", "out.jsonl"], steps[number - 1]
    count(len(steps))


@pytest.mark.slow
@pytest.mark.faults
def test_an_interrupt_says_how_to_go_on(tmp_path: Path, rules: Path, long: Path) -> None:
    out = tmp_path / "out.jsonl.zst"
    process = _begin(long, "--with", f"spacy:{rules}", "--spans", "entities", "--unit-bytes", 1024, "--out", out)
    while process.poll() is None and not [*state_folder(out).glob("parts/0*")]:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error == "spanmask: stopped; the same command with --resume goes on from here\n"
    assert not out.exists()


@pytest.mark.slow
def test_without_spacy_the_extra_is_named(tmp_path: Path) -> None:
    """In a process in which nothing finds it, as where it is not installed."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'spacy': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from spanmask_cli.main import run; run()\n"
    )
    source = write_lines(tmp_path / "in.jsonl", TEXTS)
    arguments = [
        "annotate",
        source,
        "--with",
        "spacy:en_core_web_sm",
        "--spans",
        "entities",
        "--out",
        tmp_path / "o.jsonl",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert (
        ended.stderr
        == "spanmask: annotate needs spaCy, which is not installed: pip install '.[spacy]' in a checkout of spanmask\n"
    )


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not PROSE.exists(), reason="../shared/data is absent")
@pytest.mark.parametrize("spans", ["entities", "noun_chunks"])
def test_wikipedia_is_annotated_presharded_and_audited(
    spans: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With spaCy's small English model where it is installed, and else with rules and a parser of three sentences."""
    installed = spacy.util.is_package("en_core_web_sm")
    folder = request.getfixturevalue("rules" if spans == "entities" else "phrases")
    pipeline = "en_core_web_sm" if installed else str(folder)
    with pa.OSFile(str(PROSE)) as file:
        lines = pa.CompressedInputStream(file, "zstd").read(1 << 20).split(b"\n")[:-1]
    source, out = tmp_path / "wiki.jsonl", tmp_path / f"{spans}.jsonl.zst"
    source.write_bytes(b"".join(line + b"\n" for line in itertools.islice(lines, 2)))
    _run(source, "--with", f"spacy:{pipeline}", "--spans", spans, "--out", out, "--keep", "id", "--jobs", 2)
    texts = [json.loads(line) for line in source.read_bytes().splitlines()]
    nlp = spacy.load(pipeline)
    for line, record in zip(read_lines(out), texts, strict=True):
        assert (line["id"], line["text"]) == (record["id"], record["text"])
        doc = nlp(record["text"])
        alone = doc.noun_chunks if spans == "noun_chunks" else doc.ents
        words = [span.text.strip() for span in alone if span.label_ in ("PERSON", "GPE", "ORG", "NP")]
        found = [line["text"][start:end] for start, end in line[spans]]
        assert [word for word in found if word in words] == [word for word in words if word]
    dataset = tmp_path / "dataset"
    preshard = ["preshard", out, "--scheme", "annotated", "--spans-field", spans, "--out", dataset, "--seed", 7]
    for arguments in (preshard, ["verify", dataset, "--source"], ["audit", dataset]):
        ended = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
