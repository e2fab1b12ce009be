"""The pages people read, README.md and docs/*.md, as steps: what they have one type, run, or expect to see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)\n")
_CODE = re.compile(r"`([^`\n]+)`")

#: Commands that are not run as they stand, each with the reason, and what is run instead.
EXCEPTIONS: dict[str, tuple[str, str | None]] = {
    "pip install . && spanmask demo": ("the tests run in an environment that has it", "spanmask demo"),
    "pip install '.[train]'": ("the tests run in an environment that has it", None),
    "pip install '.[backbones]'": ("the tests run in an environment that has it", None),
    "pip install '.[s3]'": ("the tests run in an environment that has it", None),
    "pip install '.[spacy]' && python -m spacy download en_core_web_sm": (
        "the tests have rules in a folder of that name",
        None,
    ),
    "spanmask preshard YOUR-TEXTS/ --out s3://BUCKET/shards --seed 7 --max-tokens 128": (
        "needs a bucket; tests/presharding/test_presharding_remote.py has one",
        None,
    ),
    "spanmask preshard 's3://BUCKET/text/**/*.jsonl.zst' --out shards --seed 7": (
        "needs a bucket; tests/presharding/test_presharding_objects.py has one",
        None,
    ),
    "pip install -e '.[test]' && pytest": (".ci/run runs it", None),
    "pip install 'datatrove[io]==0.10.1' nltk regex spacy tokenizers 'xxhash<4'": ("an environment of its own", None),
    "spanmask probe compare qa-words qa-spans --html probes.html": (
        "two models worth comparing are days of training",
        "cp -r answers qa-words && cp -r answers qa-spans && spanmask probe compare qa-words qa-spans --html probes.html",
    ),
    "spanmask probe coref run --train litbank_coref_conll.tar.gz --eval litbank_coref_conll.tar.gz --fold 1/10 --out coref": (
        "twenty epochs",
        "spanmask probe coref run --train litbank_coref_conll.tar.gz --eval litbank_coref_conll.tar.gz --fold 1/10 --epochs 1 --out coref",
    ),
    "spanmask probe glue run --data glue --task all --preset paper-sentences --seeds 3 --out glue-run": (
        "ten trainings of ten epochs a task and seed",
        "spanmask probe glue run --data glue --task all --epochs 1 --out glue-run",
    ),
    **{
        f"spanmask probe boundaries {' '.join(f'{name}-{seed}' for seed in range(1, 7))} held-out --out {name}": (
            "six models worth comparing are hours of training",
            f"cp -r run {name}-1 && spanmask probe boundaries {name}-1 held-out --out {name} --spans 300 --classes 20",
        )
        for name in ("mlm", "sbo")
    },
    **{
        f"python -m spanmask_bench.faults {arguments}": (
            "minutes of faults; tests/bench run what it makes of them",
            None,
        )
        for arguments in ("--json faults.json", "--lane N --json faults.json", "--only A4,B2")
    },
    "spanmask reproduce quick YOUR-HELD-OUT-TEXTS/ --out grid": (
        "four minutes of trainings",
        "spanmask reproduce quick YOUR-HELD-OUT-TEXTS/ --out grid --set tokens=20000 --set train.hidden=16 --set train.heads=2 "
        "--set vocabulary.size=300 --set train.compile=false --set probe.boundaries.spans=200 --set preshard.holdout=0.4",
    ),
    "spanmask train s3://BUCKET/shards --out run": ("needs an object store; tests/train have one", None),
    "dask scheduler --port 8786": ("tests/test_cluster_page.py starts it", None),
    "dask worker tcp://SCHEDULER:8786 --nthreads 1": ("tests/test_cluster_page.py starts them", None),
    "python dedup.py": ("datatrove is not installed in tests", "cp -r YOUR-RECORDS unique"),
    "torchrun --no-python --nproc-per-node 8 spanmask train shards --out base --model base --preset fast --steps 100000 --eval": (
        "needs eight devices; tests/train run torchrun with two",
        None,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command line, the Python of a block, a file to write, or the output of the command before it."""

    kind: str  # command, python, output, or the name of a file
    text: str


def steps(page: Path) -> Iterator[Step]:
    """Yield the steps of a page in order. A block that begins with `# NAME.SUFFIX` is a file, one of no language a drawing."""
    for language, body in _BLOCK.findall(page.read_text("utf-8")):
        if language == "sh":
            yield from (Step(kind="command", text=line) for line in _commands(body))
        elif named := _FILE.match(body):
            yield Step(kind=named[1], text=body)
        elif language:
            yield Step(kind={"text": "output"}.get(language, language), text=body)


def _commands(body: str) -> list[str]:
    lines = [line.partition("  # ")[0].strip() for line in body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def code_in_prose(page: Path) -> list[str]:
    """Return what stands between backticks outside of blocks."""
    return _CODE.findall(_BLOCK.sub("", page.read_text("utf-8")))


def pattern(line: str) -> str:
    """Return what a line of expected output matches, `…` being anything."""
    return ".*".join(map(re.escape, line.rstrip().split("…")))
