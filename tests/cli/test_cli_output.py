"""What commands print and leave behind: output that machines can read, messages in the words that were typed, and folders."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import Any

import click
import pytest
from spanmask_cli.commands import cli


def test_preshard_tells_what_it_wrote(shell: Any) -> None:
    result = shell.preshard(shell.write("a.txt"))
    assert (result.code, result.error) == (0, "")
    assert "train: 2 sequences" in result.out
    assert "masked:" in result.out
    assert f"wrote {shell.folder / 'out'}, fingerprint " in result.out


def test_json_output_parses_and_is_all_there_is(shell: Any) -> None:
    path = shell.write("a.txt")
    presharded = json.loads(shell.preshard(path, "--json").out)
    assert presharded["splits"]["train"]["rows"] == 2
    assert presharded["conservation"]["tokens"]["in"] > 0
    manifest = json.loads((shell.folder / "out" / "manifest.json").read_bytes())
    assert (presharded["fingerprint"], presharded["digest"]) == (manifest["fingerprint"], manifest["digest"])
    verified = json.loads(shell("verify", shell.folder / "out", "--json").out)
    assert (verified["ok"], verified["findings"], verified["rows"]) == (True, [], 2)


def test_flags_override_the_configuration_file(shell: Any) -> None:
    config = shell.write("c.toml", "max_tokens = 64\nmask_ratio = 0.2\nkeep = []\nscheme = 'token'\n")
    shell.preshard(shell.write("a.txt"), "--config", config, "--mask-ratio", 0.3)
    written = json.loads((shell.folder / "out" / "manifest.json").read_bytes())["config"]
    assert (written["sequence"]["max_tokens"], written["masking"]["mask_ratio"], written["masking"]["scheme"]) == (
        64,
        0.3,
        "token",
    )


def test_the_seed_may_stand_in_the_configuration_file(shell: Any) -> None:
    config = shell.write("c.toml", "seed = 11\n")
    result = shell("preshard", shell.write("a.txt"), "--out", shell.folder / "out", "--config", config, "--jobs", 1)
    assert result.code == 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2048", 2048),
        ("2KiB", 2048),
        ("1 MiB", 1 << 20),
        ("1GiB", 1 << 30),
        ("64MB", 64_000_000),
        ("64 mb", 64_000_000),
        ("20kB", 20_000),
        ("1gb", 10**9),
        ("4096B", 4096),
    ],
)
def test_sizes_take_binary_units(shell: Any, text: str, size: int) -> None:
    assert shell.preshard(shell.write("a.txt"), "--shard-bytes", text).code == 0
    config = json.loads((shell.folder / "out" / "manifest.json").read_bytes())["config"]
    assert config["output"]["shard_bytes"] == size


@pytest.mark.parametrize("text", ["64M", "64iB", "6.4MB", "MB", "-1MB", "64MBs"])
def test_what_is_no_size_is_refused_with_what_is(shell: Any, one_line: Any, text: str) -> None:
    result = shell("preshard", shell.write("a.txt"), "--seed", 1, "--dry-run", 1, "--shard-bytes", text)
    assert result.code == 2
    told = f"--shard-bytes is '{text}': give bytes, or a number with KiB, MiB or GiB, or with kB, MB or GB"
    assert told in one_line(result.error)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("preshard a.txt --out o --max-tokens 2 --seed 1", "--max-tokens is 2: give 3 to 65535"),
        ("preshard a.txt --out o --seed 1 --min-tokens 999", "--min-tokens is 999: give 0 to --max-tokens (512)"),
        ("preshard a.txt --out o", "--seed is missing: masks are a function of it"),
        ("preshard a.txt --out o --seed x", "--seed is 'x': give a whole number"),
        ("preshard a.txt --out o --seed 1 --scheme annotated", "--scheme annotated and a --spans-field go together"),
        (
            "preshard a.txt --out o --seed 1 --scheme word --sampler paper",
            "--sampler paper goes with --scheme span only",
        ),
        (
            "preshard a.txt --out o --seed 1 --scheme word --replacement-unit span",
            "--replacement-unit span does not go",
        ),
        (
            "preshard a.txt --out o --seed 1 --encoding klingon",
            "--encoding is 'klingon': give the name of one that Python knows",
        ),
        ("preshard a.txt --out o --seed 1 --exclude ids", "--exclude is 'ids': give FIELD=FILE"),
        (
            "preshard a.jsonl --out o --seed 1 --exclude id=gone.txt",
            "--exclude is 'id=gone.txt': there is no such file",
        ),
        ("preshard a.jsonl --out o --seed 1 --exclude id=s3://b/c", "--exclude is s3://b/c: a URL, and only files"),
        ("train o --out r --model tiny --eval-every -1", "--eval-every is -1"),
        ("export o --out p --to nothing", "--to is 'nothing': give --to parquet|jsonl|datasets|t5"),
        ("vocab a.txt --out v --kind unigram --min-frequency 2", "--min-frequency is of wordpiece and bpe"),
    ],
)
def test_messages_name_options_as_they_are_typed(shell: Any, one_line: Any, arguments: str, told: str) -> None:
    shell.write("a.txt")
    result = shell(*arguments.split())
    assert result.code == 2
    assert told in one_line(result.error)


@pytest.mark.parametrize(
    ("name", "data", "options", "told"),
    [
        (
            "a.jsonl",
            '{"body": "a"}\n',
            "",
            "no field 'text'; fields of this line: 'body'; name another with --text-field, or leave",
        ),
        (
            "a.json",
            '[{"body": "a"}]\n',
            "",
            "no field 'text'; fields of this line: 'body'; name another with --text-field, or leave",
        ),
        ("a.csv", "body\na\n", "", "no column 'text'; columns of this file: 'body'; name another with --text-field"),
        (
            "a.csv",
            "text\na\n",
            "--keep id",
            "no field 'id'; fields of the first document: 'text'; name one that is there",
        ),
    ],
)
def test_a_field_that_is_not_there_is_told_with_those_that_are_and_what_to_do(
    shell: Any, one_line: Any, name: str, data: str, options: str, told: str
) -> None:
    assert told in one_line(shell.preshard(shell.write(name, data), *options.split()).error)


def test_options_of_a_file_keep_their_names(shell: Any, one_line: Any) -> None:
    config = shell.write("c.toml", "max_tokens = 2\nseed = 1\n")
    arguments = ["preshard", shell.write("a.txt"), "--out", "o", "--config", config]
    assert one_line(shell(*arguments).error).startswith("spanmask: max_tokens is 2: ")
    assert one_line(shell(*arguments, "--max-tokens", 1).error).startswith("spanmask: --max-tokens is 1: ")


FAILING = {
    "nothing left": '{"text": "a"}\n',
    "empty": "",
    "no field": "{}\n",
    "no text": '{"text": 1}\n',
    "cut": '{"text": "a"\n',
}


@pytest.mark.parametrize("data", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failed_run_leaves_no_empty_folder(shell: Any, data: str, jobs: int) -> None:
    path = shell.write("a.jsonl", data)
    result = shell("preshard", path, "--out", shell.folder / "new" / "out", "--seed", 1, "--jobs", jobs)
    assert result.code == 5
    assert sorted(item.name for item in shell.folder.iterdir()) == ["a.jsonl"]


def test_a_failed_run_leaves_a_folder_that_was_there(shell: Any) -> None:
    (shell.folder / "out").mkdir()
    assert shell.preshard(shell.write("a.jsonl", "{}\n")).code == 5
    assert list((shell.folder / "out").iterdir()) == []
    assert shell.preshard(shell.write("a.txt"), out="whole").code == 0
    before = sorted((shell.folder / "whole").rglob("*"))
    assert shell.preshard(shell.write("b.jsonl", "{}\n"), "--overwrite", out="whole").code == 5
    assert sorted((shell.folder / "whole").rglob("*")) == before
    assert json.loads(shell("verify", "whole", "--json").out)["ok"]


def test_one_sequence_is_one(shell: Any) -> None:
    one = shell.write("a.txt", "the cat sat on the mat and nobody told it\n")
    assert "train: 1 sequence, " in shell.preshard(one).out
    assert "1 sequence, " in shell("verify", "out").out
    assert "train split, 1 sequence of at most 512 tokens" in shell("show", "out").out
    assert "train: 1 sequence\n" in shell("export", "out", "--to", "jsonl", "--out", "rows").out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("preshard a.txt --out out --seed 1", "the same command goes on from here"),
        ("vocab a.txt --out out", "nothing was written; the same command begins anew"),
        ("export out --to t5 --out rows", "nothing was written; the same command begins anew"),
        ("train out --out run", "no update was made; the same command begins anew"),
    ],
)
def test_a_command_that_is_stopped_says_how_to_go_on(
    shell: Any, monkeypatch: pytest.MonkeyPatch, command: str, told: str, number: int, code: int
) -> None:
    name = command.split(maxsplit=1)[0]
    monkeypatch.setattr(cli.get_command(click.Context(cli), name), "callback", lambda **_: signal.raise_signal(number))
    result = shell(*command.split())
    assert (result.code, result.error) == (code, f"spanmask: stopped; {told}\n")


def test_a_dry_run_shows_sequences_and_writes_nothing(shell: Any) -> None:
    result = shell("preshard", shell.write("a.txt"), "--seed", 1, "--dry-run", 2)
    assert (result.code, result.error) == (0, "")
    assert "cat" in result.out
    assert "row 1 · a.txt, place " in result.out
    assert sorted(path.name for path in shell.folder.iterdir()) == ["a.txt"]


def test_what_was_read_and_passed_over_is_told(shell: Any) -> None:
    for name in (
        "in/a.txt",
        "in/b.xls",
        "in/c.xls",
        "in/_d.txt",
        "in/\x1b[31m.\x1bmd",
        *(f"in/e.{n}" for n in range(12)),
    ):
        (shell.folder / name).parent.mkdir(exist_ok=True)
        (shell.folder / name).write_text("The cat sat on the mat. " * 20)
    arguments = ["preshard", shell.folder / "in", "--seed", 1]
    told = shell(*arguments, "--dry-run", 1).out
    line = next(line for line in told.splitlines() if line.startswith("read: "))
    assert line.startswith("read: 1 file; passed over: 2 .xls, 1 ")
    assert "1 hidden" in line
    assert "1 .\\x1bmd" in line
    assert line.endswith("3 of 3 other kinds, which --json names")
    run = [*arguments, "--out", shell.folder / "out", "--jobs", 1]
    assert line in shell(*run).out
    again = json.loads(shell(*run, "--json").out)
    assert again["inputs"]["files"] == 1
    assert again["inputs"]["passed_over"] == {".xls": 2, "hidden": 1, ".\x1bmd": 1, **{f".{n}": 1 for n in range(12)}}


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_only(shell: Any) -> None:
    path = shell.write("a.txt")
    ours, theirs = pty.openpty()
    arguments = ["preshard", path, "--out", shell.folder / "out", "--seed", 1, "--jobs", 1]
    process = subprocess.Popen([*shell.command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert b"train: 2 sequences" in out
    assert b"%" in seen
    assert b"\x1b" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        pytest.param(["verify", "out", "--json"], marks=pytest.mark.slow),
        pytest.param(["preshard", "a.txt", "--seed", "1", "--dry-run", "1"], marks=pytest.mark.slow),
        pytest.param(["preshard", "a.txt", "--seed", "1", "--out", "out", "--jobs", "1"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_standard_output_that_nobody_reads_ends_with_141(shell: Any, arguments: list[str]) -> None:
    shell.preshard(shell.write("a.txt"))
    read, write = os.pipe()
    os.close(read)
    result = shell.process(*arguments, stdout=write, stderr=subprocess.PIPE, capture_output=False)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


def test_an_encoding_is_told_as_people_call_it(shell: Any, one_line: Any) -> None:
    text = shell.write("a.txt")
    assert shell.preshard(text, "--encoding", "latin-1").code == 0
    assert "encoding: 'latin-1' there, 'utf-8' here" in one_line(shell.preshard(text).error)
    assert shell.preshard(text, out="other").code == 0
    told = one_line(shell.preshard(text, "--encoding", "iso-8859-1", out="other").error)
    assert "encoding: 'utf-8' there, 'latin-1' here" in told
