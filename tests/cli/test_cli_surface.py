"""The commands as users type them: names, options, help, start-up, output that can be read by machines."""

from __future__ import annotations

import re
import shlex
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
    "--segmentation": ["fill", "sentence", "pairs"],
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
RUN = dict.fromkeys(
    ["--out", "--config", "--jobs", "--task", "--scheduler", "--overwrite", "--rehash", "--dry-run", "--json"]
) | {"--engine": ["local", "array", "dask"]}
SURFACE: dict[str, dict[str, list[str] | None]] = {
    "annotate": dict.fromkeys(["--out", "--with", "--omit", "--disable", "--into", "--max-characters", "--unit-bytes"])
    | dict.fromkeys(["--resume", "--overwrite", "--jobs", "--json"])
    | {"--spans": ["entities", "noun_chunks"]}
    | {name: SHARED[name] for name in ("--format", "--layout", "--text-field", "--keep", "--exclude")}
    | {name: SHARED[name] for name in ("--on-error", "--encoding", "--max-document-bytes")},
    "preshard": {**SHARED, **RUN},
    "finalize": {"--json": None},
    "verify": dict.fromkeys(["--source", "--jobs", "--json"]),
    "status": dict.fromkeys(["--watch", "--json"]),
    "repair": dict.fromkeys(["--jobs", "--json"]),
    "gc": dict.fromkeys(["--older-than", "--dry-run", "--json"]),
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
        "--objective": ["mlm", "mlm+sbo", "mlm+nsp", "mlm+sbo+nsp"],
        "--attention": ["auto", "varlen", "unpadded", "sdpa"],
    }
    | {
        "--decay": ["all", "matrices"],
        "--schedule": ["linear", "wsd"],
        "--masks": ["stored", "fresh"],
        "--edges": ["use", "drop"],
    }
    | {"--device": ["auto", "cpu", "cuda"], "--dtype": ["auto", "bf16", "fp32"]}
    | dict.fromkeys(["--model", "--init-from", "--backbone", "--hidden", "--layers", "--heads", "--intermediate"])
    | dict.fromkeys(["--max-positions"])
    | dict.fromkeys(["--sbo-weight", "--hidden-dropout", "--attention-dropout", "--steps", "--warmup", "--lr"])
    | dict.fromkeys(["--batch-size", "--accumulate", "--beta1", "--beta2", "--epsilon", "--weight-decay", "--clip"])
    | dict.fromkeys(["--seed", "--width", "--window", "--save-every", "--keep-last", "--log-every", "--eval-every"])
    | dict.fromkeys(["--mask-epoch", "--order-key"])
    | dict.fromkeys(["--threads", "--compile", "--no-compile", "--eval", "--no-eval", "--mmap", "--no-mmap"]),
    "export-model": dict.fromkeys(["--out", "--step", "--average", "--overwrite"]),
    "infill": dict.fromkeys(["--top", "--json"]),
    "overlap": dict.fromkeys(["--eval", "--ids", "--n", "--least", "--eval-field", "--jobs", "--json", "--text-field"])
    | {name: SHARED[name] for name in ("--format", "--layout", "--on-error", "--encoding", "--max-document-bytes")},
    "curves": dict.fromkeys(["--json", "--html"]),
    "reproduce": dict.fromkeys(["--out", "--budget", "--only", "--set", "--show", "--list", "--jobs", "--json"]),
    "score": {"--na-prob": None, "--json": None, "--singletons": ["keep", "drop"], "--on-error": ["fail", "skip"]},
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
    data = [
        "vocab",
        "annotate",
        "preshard",
        "finalize",
        "status",
        "repair",
        "gc",
        "export",
        "demo",
        "show",
        "verify",
        "overlap",
        "audit",
    ]
    assert list(COMMANDS) == [
        *data,
        "train",
        "curves",
        "infill",
        "export-model",
        "probe",
        "score",
        "reproduce",
        "bench",
    ]


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
    assert len(read) == {"preshard": 17, "train": 27, "export": 0, "vocab": 9}[name]


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
    titles = ["Options", "Make data", "Look at data", "Train", "Evaluate", "Measure"]
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
    assert "known: annotate, audit" in shell("zzz").error
    assert "did you mean 'export-model'?" in shell("export-mod").error


HELP = "; spanmask {} --help tells more"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("preshard x --max-token 3", "no option --max-token; did you mean '--max-tokens'?"),
        ("preshard x --zzz", "no option --zzz"),
        ("preshard", "INPUT… is missing: give one at least"),
        ("train o", "--out is missing: give --out RUN"),
        ("train o --out", "--out has no value: give one after it"),
        ("train o --out r --preset big", "--preset is 'big': give paper|paper-base|fast|cpu"),
        ("train o --out r --stop-at 0", "--stop-at is 0: give a whole number, 1 or more"),
        ("show o --row x", "--row is 'x': give a whole number"),
        ("show o --html .", "--html is '.': a folder; give a file"),
        ("bench masking --text nowhere", "--text is 'nowhere': no such file; give a file"),
        ("bench tokenize --megabytes 0", "--megabytes is 0.0: give a number above 0"),
        ("demo more", "more: more than the command takes; leave it out, or put quotes around spaces"),
        ("verify", "DIR is missing: give one at least"),
        ("gc x --older-than 7", "--older-than: no age: '7'; give a number and a unit, as 12h or 7d"),
        ("bench trian", "no command 'trian'; did you mean 'train'?"),
        ("bench zzz", "no command 'zzz'; known: load, masking, preshard, tokenize, train"),
        ("bench it's", 'no command "it\'s"; known: load, masking, preshard, tokenize, train'),
        ("bench a\\b", "no command 'a\\\\b'; known: load, masking, preshard, tokenize, train"),
        ("probe it's", 'no command "it\'s"; known: boundaries, classify, compare, coref, glue, ner, qa, relation'),
        ("annotate x --out o.jsonl", "--with is missing: give spacy:MODEL, a pipeline that is installed or its folder"),
        ("annotate x --out o.jsonl --with spacy:m", "--spans is missing: give one of entities, noun_chunks"),
        ("verify --hlep", "no option --hlep; did you mean '--help'?"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_told_in_a_line_with_what_to_do(
    shell: Any, one_line: Any, arguments: str, told: str
) -> None:
    result = shell(*arguments.split())
    assert result.code == 2
    command = " ".join(arguments.split()[: 2 if arguments.startswith("bench") and "no command" not in told else 1])
    assert one_line(result.error).removesuffix("\n").removesuffix(HELP.format(command)) == f"spanmask: {told}"


def test_a_command_without_arguments_tells_its_help(shell: Any) -> None:
    for arguments in ((), ("bench",)):
        assert "Usage: spanmask" in shell(*arguments).error


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
    [
        ["--help"],
        ["preshard", "--help"],
        ["export", "--help"],
        ["vocab", "--help"],
        ["overlap", "--help"],
        ["annotate", "--help"],
        ["curves", "--help"],
    ],
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
