"""The commands as users type them: names, options, help, start-up, output that can be read by machines."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

import click
import pytest
from spanmask_cli.commands import COMMANDS, EXIT_CODES, cli

from spanmask.config import PreshardConfig
from spanmask.exporting.config import ExportConfig
from spanmask.train.config import TrainConfig
from spanmask.vocabularies.config import TrainingConfig

SHARED = {
    "--seed": None,
    "--vocab": None,
    "--cased": None,
    "--uncased": None,
    "--format": ["auto", "text", "jsonl", "json", "csv", "tsv", "parquet", "arrow"],
    "--layout": ["sentences", "documents", "file"],
    "--text-field": None,
    "--spans-field": None,
    "--words-field": None,
    "--keep": None,
    "--segmentation": ["fill", "sentence"],
    "--max-tokens": None,
    "--min-tokens": None,
    "--scheme": ["span", "word", "token", "annotated"],
    "--sampler": ["paper", "reference"],
    "--mask-ratio": None,
    "--geometric-p": None,
    "--max-words": None,
    "--replacement-unit": ["span", "word", "token"],
    "--random-ids": ["uniform", "unigram"],
    "--mask-epoch": None,
    "--holdout": None,
    "--shard-bytes": None,
    "--on-error": ["fail", "skip"],
    "--exclude": None,
    "--encoding": None,
    "--max-document-bytes": None,
}
RUN = dict.fromkeys(["--out", "--config", "--jobs", "--overwrite", "--rehash", "--dry-run", "--json"])
SURFACE: dict[str, dict[str, list[str] | None]] = {
    "preshard": {**SHARED, **RUN},
    "verify": dict.fromkeys(["--source", "--jobs", "--json"]),
    "export": dict.fromkeys(["--out", "--split", "--overwrite", "--json"])
    | {"--to": ["parquet", "jsonl", "datasets", "t5"]}
    | dict.fromkeys(["--first-sentinel", "--sentinels-descend", "--keep-specials"]),
    "train": dict.fromkeys(
        ["--out", "--config", "--resume", "--allow-other-data", "--stop-at", "--yes", "--tensorboard", "--json"]
    )
    | dict.fromkeys(
        ["--save-minutes", "--keep-every", "--eval-sequences", "--max-span-offset", "--cooldown", "--weights"]
    )
    | {
        "--preset": ["paper", "paper-base", "fast", "cpu"],
        "--objective": ["mlm", "mlm+sbo"],
        "--attention": ["auto", "varlen", "unpadded", "sdpa"],
    }
    | {
        "--decay": ["all", "matrices"],
        "--schedule": ["linear", "wsd"],
        "--masks": ["stored", "fresh"],
        "--edges": ["use", "drop"],
    }
    | {"--device": ["auto", "cpu", "cuda"], "--dtype": ["auto", "bf16", "fp32"]}
    | dict.fromkeys(["--model", "--init-from", "--hidden", "--layers", "--heads", "--intermediate", "--max-positions"])
    | dict.fromkeys(["--sbo-weight", "--hidden-dropout", "--attention-dropout", "--steps", "--warmup", "--lr"])
    | dict.fromkeys(["--batch-size", "--accumulate", "--beta1", "--beta2", "--epsilon", "--weight-decay", "--clip"])
    | dict.fromkeys(["--seed", "--width", "--window", "--save-every", "--keep-last", "--log-every", "--eval-every"])
    | dict.fromkeys(["--threads", "--compile", "--no-compile", "--eval", "--no-eval"]),
    "export-model": dict.fromkeys(["--out", "--step", "--average", "--overwrite"]),
    "infill": dict.fromkeys(["--top", "--json"]),
    "curves": dict.fromkeys(["--json", "--html"]),
    "vocab": dict.fromkeys(["--out", "--size", "--cased", "--uncased", "--min-frequency", "--coverage", "--text-field"])
    | {name: SHARED[name] for name in ("--format", "--layout", "--on-error", "--encoding", "--max-document-bytes")}
    | dict.fromkeys(["--extend", "--add", "--overwrite", "--json"])
    | {"--kind": ["wordpiece", "bpe", "unigram"]},
}


def _options(name: str) -> dict[str, list[str] | None]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return {
        flag: list(option.type.choices) if isinstance(option.type, click.Choice) else None
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    }


@pytest.mark.parametrize("name", SURFACE)
def test_a_commands_options_are_those_promised(name: str) -> None:
    assert _options(name) == SURFACE[name]


def test_the_commands_are_those_promised() -> None:
    data = ["vocab", "preshard", "export", "demo", "show", "verify", "audit"]
    assert list(COMMANDS) == [*data, "train", "curves", "infill", "export-model", "bench"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_answers_to_its_name(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name


def test_exit_codes_are_those_promised() -> None:
    assert {kind.__name__: code for kind, code in EXIT_CODES} == {
        "IncompleteShards": 5,
        "ShardError": 5,
        "CorpusError": 5,
        "StorageError": 4,
        "ConfigError": 2,
        "MismatchError": 2,
        "SpanmaskError": 1,
        "KeyboardInterrupt": 130,
        "Abort": 130,
    }


def test_help_names_every_option_and_its_default(shell: Any) -> None:
    text = shell("preshard", "--help").out
    assert all(option in text for option in SURFACE["preshard"])
    assert all(
        default in text for default in ("[512]", "[8]", "[0.15]", "[0.2]", "[10]", "[32MiB]", "[span]", "[cased]")
    )


CONFIGS = {"preshard": PreshardConfig, "train": TrainConfig, "export": ExportConfig, "vocab": TrainingConfig}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_defaults_that_help_shows_are_those_that_stand(name: str) -> None:
    """A help text ends with the default, or with words about it; ``[paper]`` and ``[512]`` stand for None there."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    config, needed = (
        CONFIGS[name],
        {"preshard": {"seed": 1}, "train": {}, "export": {"target": "t5"}, "vocab": {}}[name],
    )
    shown = {
        option.name: re.search(r"\[([\w.+-]+)\]$", getattr(option, "help", None) or "") for option in command.params
    }
    values = {key: found[1] for key, found in shown.items() if found and key in config.option_names()}
    words = {"seed": "required", "splits": "all", "max_positions": "512", "cased": "cased"}
    plain = {key: value for key, value in values.items() if value != words.get(key)}
    types = {option.name: option.type for option in command.params}
    read = {key: types[key].convert(value, None, None) for key, value in plain.items()}
    assert config.of(**needed, **read) == config.of(**needed)
    assert len(read) == {"preshard": 17, "train": 25, "export": 0, "vocab": 9}[name]


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("preshard", ["Options", "Masking", "Corpus", "Vocabulary", "Sequence", "Output"]),
        ("train", ["Options", "Model", "Schedule", "Optimizer", "Data", "Reports", "Machine"]),
        ("export", ["Options", "Sentinels"]),
        ("vocab", ["Options", "Corpus"]),
    ],
)
def test_help_lists_options_by_section(shell: Any, name: str, titles: list[str]) -> None:
    text = shell(name, "--help").out
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == titles
    assert all(option in text for option in SURFACE[name])
    if name == "preshard":
        masking = text[text.index("\nMasking:") : text.index("\nCorpus:")]
        assert "--scheme [span|word|token|annotated]" in masking
        assert "--text-field" not in masking


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_two_examples_that_parse(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    lines = re.findall(r"^  (spanmask .*)$", command.epilog or "", re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line.partition(" < ")[0])
        assert words[1] == name
        command.make_context(name, words[2:])


def test_help_lists_commands_in_groups(shell: Any) -> None:
    text = shell("--help").out
    titles = ["Options", "Make data", "Look at data", "Train", "Measure"]
    assert sorted(re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE)) == sorted(titles)
    assert all(re.search(rf"^  {name} +\w", text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("question", ["masking", "tokenize", "preshard", "load", "train"])
def test_a_question_of_bench_ends_with_two_examples_that_parse(question: str) -> None:
    bench = cli.get_command(click.Context(cli), "bench")
    assert isinstance(bench, click.Group)
    command = bench.commands[question]
    lines = re.findall(r"^  (spanmask .*)$", command.epilog or "", re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line.replace("--text corpus.txt", ""))
        assert words[1:3] == ["bench", question]
        command.make_context(question, words[3:])


def test_help_and_version_exit_with_zero(shell: Any) -> None:
    for arguments in (["--help"], ["-h"], ["--version"], ["verify", "--help"]):
        result = shell(*arguments)
        assert (result.code, result.error) == (0, "")
        assert result.out


def test_a_typo_names_the_nearest_command(shell: Any) -> None:
    result = shell("preshrad", "x")
    assert result.code == 2
    assert "did you mean 'preshard'?" in result.error
    assert "known: audit" in shell("zzz").error
    assert "did you mean 'export-model'?" in shell("export-mod").error


def test_a_typo_in_an_option_names_the_nearest_one(shell: Any) -> None:
    result = shell("preshard", "x", "--max-token", 3)
    assert result.code == 2
    assert "--max-tokens" in result.error


_LIGHT = """
import sys
sys.argv = ["spanmask", *sys.argv[1:]]
from spanmask_cli.main import run
try:
    run()
except SystemExit:
    pass
print(sorted({"torch", "numba", "pyarrow", "numpy", "tokenizers", "rich"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["preshard", "--help"], ["export", "--help"], ["vocab", "--help"], ["curves", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    result = subprocess.run([sys.executable, "-c", _LIGHT, *arguments], capture_output=True, text=True, check=True)
    assert "Usage: spanmask" in result.stdout
    assert result.stderr == "[]\n"


def _seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


@pytest.mark.parametrize("arguments", [["--help"], ["preshard", "--help"]], ids=" ".join)
def test_help_comes_within_a_fifth_of_a_second_of_starting_python(arguments: list[str]) -> None:
    """Median of five; on a machine where Python itself starts slowly, as much slower."""
    code = f"import sys; sys.argv = ['spanmask', *{arguments}]; from spanmask_cli.main import run; run()"
    pairs = [(_seconds("-c", "pass"), _seconds("-c", code)) for _ in range(5)]
    bare, full = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert full < max(0.2, bare * 8), (bare, full)


# --- Output


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
    assert result.code in (3, 5)
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
