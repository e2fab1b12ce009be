"""Input that is odd is accepted; input that is bad ends with one line that says where, what, and what to do."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pyarrow as pa
import pyarrow.parquet
import pytest
from spanmask_cli.commands import printable

import spanmask

TEXT = b"the cat sat on the mat and nobody told it\n\nanother document of some words follows here\n"


def _decoded(folder: Path) -> list[str]:
    shards = spanmask.open(folder)
    entries = shards.manifest.vocabulary.entries
    return [" ".join(entries[i] for i in row.original()[1:-1]) for row in shards]


# --- Odd: accepted


@pytest.mark.parametrize(
    "data",
    [
        TEXT.replace(b"cat", b"c\0at\0"),
        b"\n\n \n" + TEXT.replace(b"\n\n", b"\n\n\n\t\n\x0c\n\n") + b"\n\n",
        TEXT.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.rstrip(b"\n"),
        TEXT.replace(b" ", b"\xc2\xa0"),
        TEXT.replace(b" the mat", b"\xe2\x80\x8b the\xe2\x80\xa8mat"),
    ],
    ids=["NUL", "blank lines", "CRLF", "BOM", "no final newline", "no-break spaces", "odd separators"],
)
def test_odd_text_is_read_as_the_same_documents(shell: Any, data: bytes) -> None:
    result = shell.preshard(shell.write("a.txt", data))
    assert (result.code, result.error) == (0, "")
    assert _decoded(shell.folder / "out") == [line.decode() for line in TEXT.split(b"\n") if line]


def test_odd_json_lines_are_read_as_the_same_documents(shell: Any) -> None:
    rows = ['{"text": "the cat sat on the mat and nobody told it", "x": [1, {"y": null}]}', "", '{"text": ""}', "  "]
    data = "\ufeff" + "\r\n".join([*rows, '{"z": 1.5, "text": "another \\u0064ocument of some words follows here"}'])
    result = shell.preshard(shell.write("a.jsonl", data))
    assert (result.code, result.error) == (0, "")
    assert len(_decoded(shell.folder / "out")) == 2


@pytest.mark.parametrize("name", ["-x.txt", "with space.txt", "naïve 漢字.txt", "a*[b].txt", "new\nline.txt"])
def test_odd_file_names_are_names(shell: Any, name: str) -> None:
    shell.write(name)
    result = shell("preshard", "--out", "out", "--seed", 1, "--jobs", 1, "--", name)
    assert (result.code, result.error) == (0, "")
    assert json.loads(Path("out", "manifest.json").read_bytes())["inputs"][0]["name"] == name


def test_standard_input_is_read(shell: Any) -> None:
    assert shell.preshard("-", stdin=TEXT).code == 0
    assert len(_decoded(shell.folder / "out")) == 2


LINES = b'{"text": "The cat sat on the mat, and nobody told it."}\n' * 3


@pytest.mark.parametrize("head", [b"", b"\n ", b'{"a \\" b": 1, "text": "x"}\n', b"{}\n", b'{ "meta" :\n'])
def test_json_lines_on_standard_input_are_not_taken_for_text(
    shell: Any, one_line: Callable[[str], str], head: bytes
) -> None:
    for arguments in (["--out", "out"], ["--dry-run", 1]):
        result = shell("preshard", "-", "--seed", 1, *arguments, stdin=head + LINES)
        assert result.code == 2
        assert "give --format jsonl, or text" in one_line(result.error)


@pytest.mark.parametrize("text", [b"{braces} in prose\n", b'"quoted": text\n', b"[1, 2]\n"])
def test_text_on_standard_input_may_begin_with_anything_else(shell: Any, text: bytes) -> None:
    assert shell.preshard("-", stdin=text + TEXT).code == 0


def test_standard_input_is_read_as_what_it_is_said_to_be(shell: Any) -> None:
    assert shell.preshard("-", "--format", "jsonl", out="lines", stdin=LINES).code == 0
    assert len(_decoded(shell.folder / "lines")) == 3
    assert shell.preshard("-", "--format", "text", out="text", stdin=LINES).code == 0


def test_a_dry_run_reads_standard_input(shell: Any) -> None:
    before = sorted(shell.folder.iterdir())
    shown = shell("preshard", "-", "--format", "jsonl", "--seed", 1, "--dry-run", 1, stdin=LINES)
    assert (shown.code, shown.error) == (0, "")
    assert "nobody" in shown.out
    assert sorted(shell.folder.iterdir()) == before


# --- Bad data: exit 5


def _truncated_gz(shell: Any) -> Path:
    return shell.write("a.txt.gz", gzip.compress(TEXT * 50)[:-30])


def _truncated_zst(shell: Any) -> Path:
    data = bytes(pa.Codec("zstd").compress(os.urandom(3000).hex().encode() + TEXT))
    return shell.write("a.txt.zst", data[: len(data) // 2])


def _parquet_of(shell: Any, column: Any) -> Path:
    path = shell.folder / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": column}), path)
    return path


def _jsonl(*lines: str) -> Callable[[Any], Path]:
    return lambda shell: shell.write("a.jsonl", "\n".join(['{"text": "a first good line of text"}', *lines]) + "\n")


BAD: dict[str, tuple[Callable[[Any], Path], str]] = {
    "invalid UTF-8": (
        lambda shell: shell.write("a.txt", TEXT + b"\nsome \xff byte\n"),
        r"a\.txt:5: byte 0xff .*--on-error skip",
    ),
    "UTF-16": (lambda shell: shell.write("a.txt", TEXT.decode().encode("utf-16")), r"a\.txt:1: .*UTF-8"),
    "a surrogate": (lambda shell: shell.write("a.txt", TEXT + b"\xed\xa0\x80 half"), r"a\.txt:4: .*UTF-8"),
    "a truncated gz": (_truncated_gz, r"a\.txt\.gz: not a whole gzip stream .*fetch or compress the file again"),
    "a truncated zst": (_truncated_zst, r"a\.txt\.zst: not a whole zstd stream"),
    "gz that is no gz": (lambda shell: shell.write("a.txt.gz", TEXT), r"a\.txt\.gz: not a whole gzip stream"),
    "malformed JSON": (_jsonl('{"text": "x"'), r"a\.jsonl:2: "),
    "no object": (_jsonl('["text"]'), r"a\.jsonl:2: "),
    "a missing field": (_jsonl('{"txt": "x"}'), r"a\.jsonl:2: .*text"),
    "a null field": (_jsonl('{"text": null}'), r"a\.jsonl:2: .*text"),
    "a field that is no string": (_jsonl('{"text": 7}'), r"a\.jsonl:2: .*text"),
    "a nested field": (_jsonl('{"text": ["x"]}'), r"a\.jsonl:2: .*text"),
    "Parquet that is none": (lambda shell: shell.write("a.parquet", TEXT), r"a\.parquet: "),
    "Arrow that is none": (lambda shell: shell.write("a.arrow", TEXT), r"a\.arrow: "),
    "a column that is no string": (lambda shell: _parquet_of(shell, [1, 2]), r"a\.parquet: .*text"),
    "a null row": (lambda shell: _parquet_of(shell, ["a text that is long enough here", None]), r"a\.parquet row 1: "),
    "an empty file": (lambda shell: shell.write("a.txt", b""), "every input is empty"),
    "blank lines only": (lambda shell: shell.write("a.txt", b" \n\t\n\r\n"), "every input is empty"),
    "text that is too short": (lambda shell: shell.write("a.txt", b"one\n"), "no sequence is left .*--min-tokens"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_ends_with_5_and_one_line(shell: Any, one_line: Callable[[str], str], case: str) -> None:
    import re

    make, expected = BAD[case]
    result = shell.preshard(make(shell))
    assert (result.code, result.out) == (5, "")
    assert re.search(expected, one_line(result.error)), result.error
    assert not (shell.folder / "out" / "manifest.json").exists()


@pytest.mark.parametrize("case", ["invalid UTF-8", "malformed JSON", "a missing field", "a null row"])
def test_bad_documents_may_be_skipped(shell: Any, case: str) -> None:
    make, _ = BAD[case]
    result = shell.preshard(make(shell), "--on-error", "skip", "--min-tokens", 3, "--json")
    assert result.code == 0
    assert json.loads(result.out)["conservation"]["documents_skipped"] == 1


@pytest.mark.faults
@pytest.mark.slow
def test_bad_data_met_by_a_worker_ends_with_5_and_one_line(shell: Any, one_line: Callable[[str], str]) -> None:
    path = shell.write("a.txt", TEXT * 400 + b"\nsome \xff byte\n")
    result = shell.process("preshard", path, "--out", "out", "--seed", 1, "--jobs", 2, "--shard-bytes", "8KiB")
    assert (result.returncode, result.stdout) == (5, "")
    assert "a.txt:1202: byte 0xff" in one_line(result.stderr)


# --- Bad requests: exit 2


def _vocabulary(*entries: str) -> bytes:
    return "".join(f"{entry}\n" for entry in entries).encode()


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARIES = {
    "no [MASK]": (_vocabulary(*SPECIAL[:-1], "a"), r"it lacks \[MASK\]"),
    "a byte-order mark": (
        b"\xef\xbb\xbf" + _vocabulary(*SPECIAL, "a"),
        "save it as UTF-8 without one, which moves no id",
    ),
    "carriage returns only": (_vocabulary(*SPECIAL, "a").replace(b"\n", b"\r"), "end them with newlines"),
    "nothing": (b"", "it is empty"),
    "not UTF-8": (_vocabulary(*SPECIAL) + b"\xff\n", "not UTF-8 at byte"),
}


@pytest.mark.parametrize("case", VOCABULARIES)
def test_a_bad_vocabulary_ends_with_2_and_one_line(shell: Any, one_line: Callable[[str], str], case: str) -> None:
    import re

    data, expected = VOCABULARIES[case]
    result = shell.preshard(shell.write("a.txt"), "--vocab", shell.write("vocab.txt", data), "--cased")
    assert result.code == 2
    assert re.search(expected, one_line(result.error)), result.error


def test_a_vocabulary_with_doubles_and_empty_lines_is_read_and_moves_no_id(shell: Any) -> None:
    data = _vocabulary(*SPECIAL, "the", "", "cat ", "the", "sat", ".")
    result = shell.preshard(shell.write("a.txt"), "--vocab", shell.write("vocab.txt", data), "--cased", "--json")
    assert result.code == 0, result.error
    entries = json.loads((shell.folder / "out" / "manifest.json").read_text())["vocabulary"]["entries"]
    assert entries[5:] == ["[unused0]", "[unused1]", "cat", "the", "sat", "."]


def test_a_tokenizer_whose_expression_explodes_ends_with_2_and_one_line(
    shell: Any, one_line: Callable[[str], str]
) -> None:
    content = json.loads(handmade.byte_level())
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, content["pre_tokenizer"]]}
    tokenizer = shell.write("tokenizer.json", json.dumps(content))
    result = shell.preshard(shell.write("a.txt", "the end " + "a" * 50 + "!"), "--vocab", tokenizer)
    assert result.code == 2
    assert 'with the regular expression "(a+)+$"' in one_line(result.error)


CONFIGS = {
    "max_tokes = 5": "did you mean 'max_tokens'?",
    "max_tokens = 'five'": "max_tokens is 'five'",
    "scheme = 'spam'": "give one of span, word, token, annotated",
    "seed = -1": "seed is -1",
    "mask_ratio = nan": "mask_ratio is nan",
    "max_tokens": "not a readable TOML file",
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_bad_configuration_file_ends_with_2_and_one_line(
    shell: Any, one_line: Callable[[str], str], content: str
) -> None:
    config = shell.write("c.toml", content if "seed" in content else f"seed = 1\n{content}\n")
    result = shell("preshard", shell.write("a.txt"), "--out", "out", "--config", config)
    assert result.code == 2
    assert CONFIGS[content] in one_line(result.error)


REQUESTS = {
    "a missing input": (["no.txt"], "no.txt: no such file"),
    "a pattern that matches nothing": (["no*.txt"], "no file matches this pattern"),
    "an unknown suffix": (["data.bin"], "--format"),
    "an input named twice": (["a.txt", "./a.txt"], "named twice"),
    "a missing vocabulary": (["a.txt", "--vocab", "no.txt", "--cased"], "no.txt: no such file"),
    "a vocabulary without casing": (["a.txt", "--vocab", "data.bin"], "--cased or --uncased"),
    "a contradicting casing": (["a.txt", "--uncased"], "vocabulary cased is cased"),
    "a missing configuration": (["a.txt", "--config", "no.toml"], "no.toml: no such configuration file"),
    "too few tokens": (["a.txt", "--max-tokens", "2"], "--max-tokens is 2"),
    "a shortest above the longest": (["a.txt", "--min-tokens", "600"], "--min-tokens is 600"),
    "everything masked": (["a.txt", "--mask-ratio", "1"], "--mask-ratio is 1.0"),
    "no number": (["a.txt", "--geometric-p", "nan"], "--geometric-p is nan"),
    "a scheme that is none": (["a.txt", "--scheme", "spam"], "is 'spam': give one of span, word, token, annotated"),
    "words for a number": (["a.txt", "--max-tokens", "many"], "--max-tokens is 'many': give a whole number"),
    "an unknown unit": (
        ["a.txt", "--shard-bytes", "32Mb/s"],
        "--shard-bytes is '32Mb/s': give bytes, or a number with KiB",
    ),
    "a negative size": (["a.txt", "--shard-bytes", "-1"], "--shard-bytes is -1: give 1KiB to 1GiB"),
    "a small shard": (["a.txt", "--shard-bytes", "12"], "--shard-bytes is 12"),
    "a sampler of another scheme": (
        ["a.txt", "--scheme", "word", "--sampler", "paper"],
        "goes with --scheme span only",
    ),
    "annotated without spans": (["a.txt", "--scheme", "annotated"], "--spans-field"),
    "fields of text": (["a.txt", "--keep", "id"], "plain text has no field 'id'"),
    "a folder that is a file": (["a.txt", "--out", "a.txt"], "a file stands there"),
    "a folder of others": (["a.txt", "--out", "."], "the folder is not empty"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_bad_request_ends_with_2_and_one_line(shell: Any, one_line: Callable[[str], str], case: str) -> None:
    shell.write("a.txt")
    shell.write("data.bin")
    arguments, expected = REQUESTS[case]
    out = [] if "--out" in arguments else ["--out", "out"]
    result = shell("preshard", *arguments, *out, "--seed", 1, "--jobs", 1)
    assert (result.code, result.out) == (2, "")
    assert expected in one_line(result.error)
    assert not Path("out", "manifest.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.txt"],
        ["a.txt", "--out", "out", "--jobs", "0"],
        ["a.txt", "--out", "out", "--nonsense"],
        ["a.txt", "--out", "out", "--dry-run", "0"],
    ],
)
def test_bad_usage_ends_with_2_and_one_line(shell: Any, arguments: list[str], one_line: Callable[[str], str]) -> None:
    shell.write("a.txt")
    result = shell("preshard", *arguments, "--seed", 1)
    assert (result.code, result.out) == (2, "")
    assert "give" in one_line(result.error) or "leave" in result.error or "--help" in result.error


def test_a_missing_seed_ends_with_2_and_says_why(shell: Any, one_line: Callable[[str], str]) -> None:
    result = shell("preshard", shell.write("a.txt"), "--out", "out")
    assert result.code == 2
    assert "--seed N" in one_line(result.error)


def test_the_folder_of_another_run_ends_with_2_and_names_the_option(shell: Any, one_line: Callable[[str], str]) -> None:
    path = shell.write("a.txt")
    shell.preshard(path)
    result = shell.preshard(path, "--max-tokens", 64)
    assert result.code == 2
    assert "max_tokens: 512 there, 64 here" in one_line(result.error)
    assert shell.preshard(path, "--max-tokens", 64, "--overwrite").code == 0


# --- Nothing drives the terminal


def test_control_characters_in_names_are_escaped(shell: Any, one_line: Callable[[str], str]) -> None:
    name = "evil\x1b[31m\x07\u202e.txt"
    shell.write(name, b"\xff bytes")
    for arguments in ([name], [f"missing-{name}"]):
        error = one_line(shell.preshard(*arguments).error)
        assert "\\x1b[31m\\x07\\u202e" in error
        assert not {"\x1b", "\x07", "\u202e"} & set(error)


def test_what_a_command_says_it_wrote_drives_no_terminal(shell: Any) -> None:
    shell.write("plain.txt", b"One night, when I was going to bed, a raven came.\n" * 40)
    out = "evil\x1b[31m\x07\u202e"
    commands = [
        ("preshard", "plain.txt", "--out", out, "--max-tokens", 64, "--seed", 1),
        ("export", out, "--to", "jsonl", "--out", f"{out}-export"),
        ("show", out, "--html", f"{out}.html"),
        ("audit", out, "--html", f"{out}-audit.html"),
    ]
    for command in commands:
        result = shell(*command)
        assert result.code in (0, 1), result.error
        said = result.out + result.error
        assert "evil\\x1b[31m\\x07\\u202e" in said, command
        assert not {"\x1b", "\x07", "\u202e"} & set(said), command


def test_what_is_printable_keeps_text_and_escapes_the_rest() -> None:
    assert printable("naïve 漢字 – a/b") == "naïve 漢字 – a/b"
    assert printable("\x00\x1b\x7f\x9b\u2028\u200b\ud800") == r"\x00\x1b\x7f\x9b\u2028\u200b\ud800"


# --- Budgets


def test_a_budget_that_is_not_met_is_warned_of_with_its_cause_and_what_to_do(shell: Any) -> None:
    text, words = "the cat sat on mat 1 and more", [0, 4, 8, 12, 15, 19, 21, 25]
    lines = [json.dumps({"text": text, "words": words if k % 2 else [0, 15]}) for k in range(40)]
    path = shell.write("words.jsonl", "\n".join(lines))
    done = shell.preshard(path, "--words-field", "words")
    assert done.code == 0
    (told,) = (line for line in done.out.splitlines() if line.startswith("warning: "))
    assert "50.0% of the masking budget of train is left (40 of 80 tokens are masked)" in told
    assert "words have more tokens than a sequence may mask; take longer sequences (--max-tokens" in told
    again = json.loads(shell.preshard(path, "--words-field", "words", "--json").out)
    assert again["warnings"] == [told]
    audited = shell("audit", shell.folder / "out")
    assert audited.code == 1
    assert "budgets are met" in audited.out
    shown = " ".join(shell("show", shell.folder / "out").out.split())
    assert "In the whole dataset: 200 words supplied by the corpus." in shown


def test_a_budget_that_is_met_is_not_warned_of(shell: Any) -> None:
    path = shell.write("text.txt", "the cat sat on the mat and nobody told it\n\n" * 30)
    assert json.loads(shell.preshard(path, "--json").out)["warnings"] == []
