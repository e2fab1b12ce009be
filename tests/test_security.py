"""What SECURITY.md promises of the sources, and that every test it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("spanmask", "cli") for path in (ROOT / folder).rglob("*.py"))

#: What runs, or can be made to run, what it is given.
RUNS = re.compile(
    r"(builtins\.)?(eval|exec|compile|__import__)|(pickle|marshal|shelve|dill|cloudpickle|joblib)\.(load|loads|open|Unpickler)"
    r"|os\.(system|popen)|subprocess\.(getoutput|getstatusoutput)|yaml\.\w*load\w*|(pd|pandas)\.read_pickle"
)
#: Arguments that make a harmless call run what it is given, or read a pickle.
UNSAFE = {("shell", True), ("allow_pickle", True), ("trust_remote_code", True)}
#: Between processes of one run, and from the user's own folder under a digest.
UNPICKLING = {"spanmask/engines/messages.py": 2, "spanmask/kernels/cache.py": 1}

#: Weights alone, of what was looked at before.
LOADING = "spanmask/model/pickled_weights.py"


def unsafe_calls(source: str) -> Iterator[str]:
    """Yield what in a source runs or unpickles what it is given, by name."""
    tree = ast.parse(source)
    taken = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        head, dot, rest = ast.unparse(node.func).partition(".")
        name = taken.get(head, modules.get(head, head)) + dot + rest
        if RUNS.fullmatch(name):
            yield name
        if name == "torch.load" and not any(ast.unparse(word) == "weights_only=True" for word in node.keywords):
            yield name
        for word in node.keywords:
            if isinstance(word.value, ast.Constant) and (word.arg, word.value.value) in UNSAFE:
                yield f"{name}({word.arg}={word.value.value})"


def test_no_source_runs_what_it_reads() -> None:
    found = {path.relative_to(ROOT).as_posix(): [*unsafe_calls(path.read_text("utf-8"))] for path in SOURCES}
    unpickling = {name: len(calls) for name, calls in found.items() if set(calls) == {"pickle.loads"}}
    assert unpickling == UNPICKLING
    assert {name: calls for name, calls in found.items() if calls and name not in UNPICKLING} == {}
    # What is published as a pickle is read in one place.
    assert [name for name in found if "torch.load" in (ROOT / name).read_text("utf-8")] == [LOADING]


@pytest.mark.parametrize(
    "planted",
    [
        "eval(text)",
        "import builtins\nbuiltins.exec(text)",
        "import pickle\npickle.load(file)",
        "from pickle import loads\nloads(data)",
        "from pickle import loads as read\nread(data)",
        "import pickle as p\np.Unpickler(file)",
        "import yaml\nyaml.load(text)",
        "import os\nos.system(line)",
        "import subprocess\nsubprocess.run(line, shell=True)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=asked)",
    ],
)
def test_each_way_to_run_what_is_read_is_found(planted: str) -> None:
    assert len([*unsafe_calls(planted)]) == 1


def test_every_promise_names_tests_that_are_there() -> None:
    promises = [line for line in (ROOT / "SECURITY.md").read_text("utf-8").splitlines() if "`tests/" in line]
    named = [name for line in promises for name in re.findall(r"`(tests/\S+\.py::\w+)`", line)]
    assert len(promises) > 15
    for name in named:
        path, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), name
