"""What `preshard` says of how a folder of files was read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from spanmask_cli.commands import say
from spanmask_cli.progress import progress_display, status_parts, waiting_display
from terminals import Terminal

import spanmask
from spanmask.presharding.comparing import verify_source
from spanmask.presharding.progress import Progress


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


_LINE = "the cat sat on the mat"
_NOTE = f"{_LINE}\nand nobody told it\n\nthat the mat was wet\n"


def test_hard_wrapped_notes_are_noted_and_read_as_files_where_asked(shell: Any) -> None:
    notes = shell.folder / "notes"
    notes.mkdir()
    for number in range(4):
        (notes / f"{number}.txt").write_text(_NOTE * 20)
    (notes / "4.txt.xz").write_bytes(lzma.compress(_NOTE.encode() * 20))
    (notes / "5.txt.bz2").write_bytes(bz2.compress(_NOTE.encode() * 20))
    told = shell.preshard(notes, "--overwrite").out
    assert (
        "note: sequences have 17 tokens on average, of 512 allowed, and come from 126 documents: a blank line ends one"
        in told
    )
    assert "--layout file" in told
    assert "note:" not in shell.preshard(notes, "--overwrite", "--layout", "file").out
    assert len(spanmask.open(shell.folder / "out")) == 6
    assert "each line is one; give" in shell.preshard(notes, "--overwrite", "--layout", "documents").out


def test_a_share_of_documents_to_hold_out_that_drew_none_is_noted(shell: Any) -> None:
    text = shell.write("a.txt", "\n\n".join([_LINE] * 5))
    told = "note: --holdout 0.001 drew none of 5 documents, so there is no validation split; give a larger share"
    assert told in shell.preshard(text, "--holdout", 0.001).out
    assert "--holdout" not in shell.preshard(text, "--holdout", 0.9, "--overwrite").out
    assert "--holdout" not in shell.preshard(text, "--overwrite").out


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_records_of_another_width_end_the_run_or_are_counted(shell: Any, suffix: str) -> None:
    mark = "," if suffix == ".csv" else "\t"
    lines = ["id", "text"], ["0", _LINE], ["1", "too", "many"], ["2", _LINE]
    table = shell.write(f"table{suffix}", "".join(mark.join(line) + "\n" for line in lines).encode())
    failed = shell.preshard(table)
    assert failed.code == 5
    assert f"table{suffix} row 1: 3 fields, expected 2 as in the header" in failed.error
    told = shell.preshard(table, "--on-error", "skip", "--keep", "id").out
    assert "1 of 3 documents skipped" in told
    assert "each record is one" in told
    assert [row.kept["id"] for row in spanmask.open(shell.folder / "out")] == ["0", "2"]


def test_what_was_left_out_is_told_with_path_line_and_reason(shell: Any) -> None:
    folder = shell.folder / "in"
    folder.mkdir()
    good = f"{_LINE} and nobody told it\n"
    (folder / "a.txt").write_bytes(good.encode() + b"\n\n" + b"bad \xff here\n\n" + good.encode())
    (folder / "b.jsonl").write_text(f'{{"text": "{_LINE} and nobody"}}\n{{"body": 1}}\n[1]\n{{"text": 5}}\n')
    (folder / "c.csv").write_text(f"text\n{good}1,2\n")
    told = shell.preshard(folder, "--on-error", "skip").out
    assert "read: 3 files (1 .txt, 1 .jsonl, 1 .csv)" in told
    lines = [line for line in told.splitlines() if line.startswith("skipped: ")]
    assert lines == [
        f"skipped: {folder}/a.txt:4: byte 0xff is not valid UTF-8 (invalid start byte)",
        f"skipped: {folder}/b.jsonl:2: no field 'text'; fields of this line: 'body'",
        f"skipped: {folder}/b.jsonl:3: a list instead of a JSON object; expected one object a line",
        f"skipped: 2 more; {shell.folder}/out/skipped.jsonl tells places and reasons",
    ]


def test_all_files_that_are_not_what_they_claim_are_told_at_once(shell: Any) -> None:
    for name in ("a.parquet", "b.arrow", "c.csv"):
        shell.write(name, b"junk\nand more\n")
    result = shell.preshard(*(shell.folder / name for name in ("a.parquet", "b.arrow", "c.csv")))
    assert result.code == 5
    told = result.error.splitlines()
    assert told[0] == "spanmask: 3 inputs cannot be read; correct them, or leave them out:"
    assert [line.split(": ")[0] for line in told[1:]] == [
        f"{shell.folder}/{name}" for name in ("a.parquet", "b.arrow", "c.csv")
    ]


def test_all_compressed_files_that_do_not_begin_as_such_are_told_at_once(shell: Any) -> None:
    shell.write("good.txt.gz", gzip.compress(b"the cat sat on the mat and nobody told it\n"))
    shell.write("empty.txt.gz", gzip.compress(b""))
    bad = ["a.txt.gz", "b.jsonl.xz", "c.txt.bz2", "d.jsonl.zst"]
    for name in bad:
        shell.write(name, b"junk that is not compressed at all\n")
    result = shell.preshard(shell.folder)
    told = result.error.splitlines()
    assert (result.code, told[0]) == (5, "spanmask: 4 inputs cannot be read; correct them, or leave them out:")
    assert [line.split(": ")[0] for line in told[1:]] == [f"{shell.folder}/{name}" for name in bad]
    for name in bad:
        (shell.folder / name).unlink()
    assert shell.preshard(shell.folder).code == 0


@pytest.mark.parametrize("url", ["https://host/a.txt", "HTTP://h/a", "x+y://z", "file:///tmp/a.txt"])
def test_a_url_is_refused_with_what_to_do_instead(shell: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.folder)
    text = shell.write("a.txt")
    for arguments in ((url, "--out", "o"), (text, "--out", url), (url, "--dry-run", 1)):
        result = shell("preshard", *arguments, "--seed", 1)
        assert result.code == 2
        assert ": a URL, and only files and folders of this machine are read or written; " in result.error
        assert ("--out is " in result.error) == (url in arguments[1:])
    assert [path.name for path in shell.folder.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("url", ["gs://bucket/a.txt", "az://bucket/*.txt", "s3://user:word@bucket/a.txt"])
def test_an_object_that_cannot_be_asked_for_is_told_in_a_line(shell: Any, url: str) -> None:
    result = shell("preshard", url, "--out", "o", "--seed", 1)
    assert result.code == 2
    assert ("password" if "@" in url else "needs a driver that is not installed: pip install ") in result.error
    assert "word@" not in result.error
    assert not list(shell.folder.iterdir())


def test_no_command_writes_to_a_folder_that_is_named_like_a_url(shell: Any, one_line: Any) -> None:
    text = shell.write("a.txt")
    assert shell.preshard(text).code == 0
    before = sorted(path.name for path in shell.folder.iterdir())
    for command in (
        ["export", "out", "--to", "parquet", "--out", "s3://bucket/a"],
        ["export", "out", "--to", "jsonl", "--out", "s3://bucket/a.jsonl"],
        ["vocab", text, "--size", 50, "--out", "hf://me/vocab"],
        ["demo", "--out", "https://host/demo"],
    ):
        result = shell(*command)
        assert result.code == 2, command
        assert one_line(result.error).startswith(f"spanmask: --out is {command[-1].split(':')[0]}:/"), command
        assert ": a URL, and only files and folders of this machine" in result.error
    assert sorted(path.name for path in shell.folder.iterdir()) == before


def test_planning_ends_when_it_does_and_the_start_counts_for_no_speed() -> None:
    first = Progress(disk_total=1000, disk_bytes=400, text_bytes=4_000_000, tokens=1_000_000, resumed_disk_bytes=300)
    assert status_parts(first, first, 0.0) == ["0 shards"]
    later = replace(first, disk_bytes=600, text_bytes=24_000_000, tokens=6_000_000, shards=1)
    assert status_parts(later, first, 10.0) == ["0:20 left", "2.0 MB/s", "0.50 M tokens/s", "1 shard"]


@pytest.mark.parametrize("width", [30, 50, 160])
def test_lines_break_between_words_on_a_terminal_alone(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"note: {'some words of a line ' * 9}\n  indented\n/a/path/without-any-space{'/and-more' * 9}"
    say(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    say(text)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or " " not in line for line in lines)
    assert "  indented" in lines


def test_the_bar_says_for_how_long_it_waits_and_that_kernels_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanmask_cli.progress._TICK", 0.01)
    monkeypatch.setattr("spanmask_cli.progress._LONG", 0.05)
    before = threading.active_count()
    terminal = Terminal()
    with progress_display(terminal) as show:
        assert show is not None
        wait_until(lambda: "planning · 0:00" in terminal.getvalue())
        show(Progress(disk_total=9))
        assert threading.active_count() == before
        show(Progress(disk_total=9, preparing=True))
        wait_until(lambda: "compiling the kernels, once · 0:00" in terminal.getvalue())
        show(Progress(disk_total=9))
        assert threading.active_count() == before
        show(Progress(disk_total=9, preparing=True))
    with waiting_display(terminal, "loading the model"):
        wait_until(lambda: "loading the model · 0:00" in terminal.getvalue())
    assert threading.active_count() == before


@pytest.mark.slow
def test_workers_are_forks_though_the_bar_waits(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forks: list[bool] = []
    for name in ("a.txt", "b.txt"):
        shell.write(name, f"{_LINE}\n" * 50)
    monkeypatch.setattr(sys, "stderr", Terminal())
    arguments = ("--shard-bytes", "1KiB", "--jobs", 2, "--out", "two", "--seed", 1)
    before = threading.active_count()
    monkeypatch.setattr(
        "spanmask.engines.local.may_fork", lambda: forks.append(threading.active_count() == before) or True
    )
    assert shell("preshard", "a.txt", "b.txt", *arguments).code == 0
    assert forks == [True]


def test_the_bar_says_what_is_being_done() -> None:
    terminal = Terminal()
    with progress_display(terminal) as show:
        assert show is not None
        assert "planning" in terminal.getvalue()
        for progress, told in (
            (Progress(disk_total=9), "starting"),
            (Progress(disk_total=9, text_bytes=5), "0 shards"),
        ):
            terminal.truncate(0)
            show(progress)
            assert told in terminal.getvalue()
            assert "planning" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("width", "told"),
    [(30, "0:02 left"), (50, "0:02 left · 2.0 MB/s"), (160, "0:02 left · 2.0 MB/s · 0.50 M tokens/s · 1 shard")],
)
def test_the_bar_of_a_narrow_terminal_keeps_the_essentials(
    width: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("time.monotonic", iter(range(0, 1000, 10)).__next__)
    terminal = Terminal()
    with progress_display(terminal) as show:
        assert show is not None
        first = Progress(disk_total=1200, text_bytes=1)
        show(first)
        terminal.truncate(0)
        show(replace(first, disk_bytes=1000, text_bytes=20_000_001, tokens=5_000_000, shards=1))
        drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00\r\n]", "", terminal.getvalue())
    assert re.fullmatch(rf" 83% [━╸╺]+ {told}", drawn.split("\n")[0].rstrip())
    assert len(drawn) <= width


@pytest.mark.parametrize(
    ("command", "doing"),
    [
        (["verify", "out"], "verifying · 2 of 2"),
        (["verify", "out", "--source", "--jobs", 1], "comparing · 2 of 2"),
        (["audit", "out"], "auditing out · 2 of 2"),
        (["audit", "out", "--sample", 1], "auditing out · 2 of 2"),
        (["export", "out", "--to", "jsonl", "--out", "rows"], "exporting · 2 of 2"),
    ],
)
def test_whatever_reads_all_rows_tells_how_far_it_is(
    shell: Any, command: list[object], doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell.preshard(shell.write("a.txt")).code == 0
    assert doing not in shell(*command).error
    shutil.rmtree("rows", ignore_errors=True)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert shell(*command).code == 0
    assert f"{doing} sequences" in terminal.getvalue()


def test_comparing_with_the_inputs_tells_how_much_of_them_is_hashed(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        shell.write(name, f"{_LINE}\n" * 60_000)
    assert shell.preshard("a.txt", "b.txt").code == 0
    told: list[tuple[int, int]] = []
    verify_source(shell.folder / "out", jobs=1, on_hashed=lambda done, total: told.append((done, total)))
    size = (shell.folder / "a.txt").stat().st_size
    assert len(told) >= 4
    assert told == sorted(told)
    assert (told[-1], {total for _, total in told}) == ((2 * size, 2 * size), {2 * size})
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert shell("verify", "out", "--source", "--jobs", 1).code == 0
    assert f"hashing the inputs · 1.0 of {2 * size / 1e6:.1f} MB" in terminal.getvalue()
    assert re.search(r"comparing · [\d,]+ of [\d,]+ sequences", terminal.getvalue())
