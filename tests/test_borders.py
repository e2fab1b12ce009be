"""The package's own shape: what imports what, public names, sizes, words."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import spanmask

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(spanmask.__file__).parent
FOLDERS = [folder for folder in (PACKAGE, ROOT / "cli", ROOT / "bench") if folder.is_dir()]
MODULES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "core", "base", "misc"}


def test_imports_point_down_as_the_contracts_say() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.argv = ['lint-imports']; lint_imports_command()"
    pytest.importorskip("importlinter", reason="import-linter belongs to the extra dev")
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_kernels_import_numba_and_only_tokenization_the_tokenizers() -> None:
    importers: dict[str, set[str]] = {
        "numba": set(),
        "llvmlite": set(),
        "tokenizers": set(),
        "torch": set(),
        "spacy": set(),
    }
    for path in PACKAGE.rglob("*.py"):
        for name in _imported(path):
            if name in importers:
                importers[name].add(path.relative_to(PACKAGE).as_posix())
    # The probe that fine-tunes nothing has no task.
    importers["torch"] -= {f"probes/boundaries/{name}.py" for name in ("reader", "states")}
    assert importers["numba"] | importers["llvmlite"] <= {p for p in map(str, _relative()) if p.startswith("kernels/")}
    tokenizing = {
        f"tokenization/{name}.py" for name in ("derive", "derive_classes", "derive_traits", "library", "training")
    }
    assert importers["tokenizers"] == tokenizing
    assert importers["spacy"] == {"annotating/pipeline.py"}
    assert {
        Path(name).parts[:2]
        for name in importers["torch"] - {f"probes/{task}/task.py" for task in ("coref", "ner", "qa")}
    } <= {("loading", "torch_dataset")} | {
        (folder, path.name) for folder in ("model", "probes", "train") for path in (PACKAGE / folder).glob("*.py")
    }


def _relative() -> list[str]:
    return [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]


@cache
def _source(path: Path) -> str:
    return path.read_text("utf-8")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_source(path))


@cache
def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@cache
def _modules() -> dict[str, Path]:
    names = {"cli": "spanmask_cli", "bench": "spanmask_bench"}
    found = {}
    for path in MODULES:
        top, *rest = path.relative_to(ROOT).with_suffix("").parts
        found[".".join([names.get(top, top), *rest]).removesuffix(".__init__")] = path
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements under a node but for those that only type checkers follow."""
    yield node
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _running(child)


def _imported_modules(name: str, path: Path) -> set[str]:
    """Return the package's own modules that a module imports anywhere, inside functions too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _running(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            found |= {inner if (inner := f"{module}.{alias.name}") in _modules() else module for alias in node.names}
    return found & _modules().keys() - {name}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside functions too, where Python and import-linter let a circle pass."""
    graph = {name: _imported_modules(name, path) for name, path in _modules().items()}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()


def test_kernels_know_arrays_only() -> None:
    allowed = {"numba", "llvmlite", "numpy", "spanmask"} | set(sys.stdlib_module_names)
    for path in (PACKAGE / "kernels").glob("*.py"):
        assert _imported(path) <= allowed, path
        inner = {node.module for node in ast.walk(_tree(path)) if isinstance(node, ast.ImportFrom)}
        assert {name for name in inner if name and name.startswith("spanmask")} <= {
            f"spanmask.kernels.{other.stem}" for other in path.parent.glob("*.py")
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import spanmask", {"numba", "pyarrow", "torch", "tokenizers", "numpy"}),
        ("import spanmask; spanmask.ConfigError, spanmask.PreshardConfig", {"numba", "pyarrow", "torch", "numpy"}),
        ("import spanmask; spanmask.Vocabulary", {"numba", "pyarrow", "torch", "tokenizers"}),
        ("import spanmask.shard.manifest", {"torch", "tokenizers"}),
        ("import spanmask; spanmask.open", {"numba", "torch", "tokenizers"}),
        ("import spanmask.loading.stream", {"numba", "torch", "tokenizers"}),
        ("from spanmask.loading import ShardLoader, ShardDataset, Collator", {"numba", "tokenizers"}),
        ("import spanmask_cli.commands", {"numba", "pyarrow", "torch", "numpy", "rich"}),
        (
            "from spanmask.probes.ner import NerConfig, cut_sentences, most_frequent_tags, read_tagged",
            {"torch", "tokenizers"},
        ),
        (
            "from spanmask.probes.qa import QaConfig, cut_windows, decode, prediction_files, read_questions",
            {"torch", "tokenizers"},
        ),
        (
            "from spanmask.probes.classify import ClassifyConfig, read_labelled; from spanmask.probes.glue import GlueConfig, read_glue",
            {"numba", "torch", "tokenizers"},
        ),
        ("from spanmask.probes.relation import RelationConfig, encode, mark, read_relations", {"torch", "tokenizers"}),
        (
            "from spanmask.probes.coref import CorefConfig, cut_texts, entities_of, equal_strings, read_texts",
            {"torch", "tokenizers"},
        ),
        (
            "import spanmask_cli.score; from spanmask.probes.scores import coref, squad",
            {"numba", "pyarrow", "torch", "numpy", "rich", "scipy"},
        ),
        ("from spanmask.annotating import AnnotateConfig, annotate", {"spacy", "torch", "tokenizers"}),
        ("import spanmask_cli.preshard, spanmask_cli.verify", {"numba", "pyarrow", "torch", "numpy", "rich"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not absent & set(loaded)


# --- Public names


def test_public_names_are_sorted_and_all_there() -> None:
    assert spanmask.__all__ == sorted(set(spanmask.__all__))
    assert dir(spanmask) == spanmask.__all__
    for name in spanmask.__all__:
        assert getattr(spanmask, name).__name__ in (name, "open_shards")
    promised = {"preshard", "open", "Tokenizer", "mask", "verify", "audit"}
    assert promised <= set(spanmask.__all__)


def test_public_names_for_types_are_those_for_running() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.asname or alias.name
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == set(spanmask.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'spanmask' has no attribute 'nonsense'"):
        spanmask.nonsense  # noqa: B018


def test_every_name_a_module_exports_exists() -> None:
    exporting = [
        name
        for name, path in _modules().items()
        if not name.startswith("spanmask_bench")
        and any(
            getattr(node.targets[0], "id", "") == "__all__" for node in _tree(path).body if isinstance(node, ast.Assign)
        )
    ]
    assert len(exporting) > 9
    for name in exporting:
        module = importlib.import_module(name)
        assert list(module.__all__) == sorted(set(module.__all__)), name
        assert not [item for item in module.__all__ if not hasattr(module, item)], name


# --- Shape


def test_every_module_says_what_it_is_and_stays_short() -> None:
    assert not [path for path in MODULES if not ast.get_docstring(_tree(path))]
    assert not [path for path in MODULES if _source(path).count("\n") > 500]


def test_no_name_says_nothing_or_hides_a_standard_module() -> None:
    parts = {path: {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} for path in MODULES}
    assert not [path for path, names in parts.items() if names & FORBIDDEN_NAMES]
    tops = [path for path in MODULES if path.parent in FOLDERS]
    # The one exception, decided with the layout.
    assert [path.stem for path in tops if path.stem in sys.stdlib_module_names] == ["statistics"]


def test_every_package_is_listed_for_installation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    names = {"spanmask": PACKAGE, "spanmask_cli": ROOT / "cli", "spanmask_bench": ROOT / "bench"}
    found = {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for name, folder in names.items()
        for path in folder.rglob("__init__.py")
    }
    assert found <= listed
    assert project["project"]["scripts"] == {"spanmask": "spanmask_cli.main:run"}


def test_the_layout_is_the_one_decided() -> None:
    top = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))}
    decided = {
        "annotating",
        "asking",
        "auditing",
        "batches",
        "blocks",
        "collector",
        "config",
        "corpus",
        "data",
        "engines",
        "errors",
        "escaping",
        "exporting",
        "folders",
        "kernels",
        "loading",
        "masking",
        "model",
        "options",
        "overlap",
        "owners",
        "pieces",
        "places",
        "presharding",
        "probes",
        "processes",
        "py",
        "records",
        "tokenizer_folder",
        "tokenizer_json",
    }
    rest = {
        "buffers",
        "drivers",
        "pair_replay",
        "pairing",
        "refusals",
        "remote",
        "report",
        "reproduction",
        "sequencing",
        "shard",
        "statistics",
        "storage",
        "tokenization",
        "train",
        "urls",
        "vocab",
        "vocabularies",
        "words",
    }
    assert top == decided | rest
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize(
    "pattern",
    [
        "pickle.load(",
        "eval(",
        "exec(",
        "builtins",
        "shell=True",
        "allow_pickle=True",
        "yaml.load",
        "os.system(",
        "torch.load(",
    ],
)
def test_nothing_runs_what_it_reads(pattern: str) -> None:
    """Compiled kernels aside, which lie in a folder of the user's own, and what a run tells its own workers."""
    # A method may have such a name, as modules of torch do.
    plain = re.compile(rf"(?<![.\w]){re.escape(pattern)}")
    # Weights as most BERTs were published: tests/test_security.py asks how it is called.
    named = ["pickled_weights.py"] if pattern == "torch.load(" else []
    assert [path.name for path in MODULES if plain.search(_source(path))] == named
    pickled = [path.name for path in MODULES if "pickle" in _imported(path)]
    assert sorted(pickled) == ["cache.py", "cutting.py", "messages.py"]


def test_environment_variables_are_few_and_known() -> None:
    read = {
        name
        for path in MODULES
        for name in ("SPANMASK_CACHE_DIR", "XDG_CACHE_HOME", "TOKENIZERS_PARALLELISM")
        if name in _source(path)
    }
    assert read == {"SPANMASK_CACHE_DIR", "XDG_CACHE_HOME", "TOKENIZERS_PARALLELISM"}
    assert os.environ.get("HOME") is not None


def _architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text("utf-8")


def test_what_the_architecture_page_names_is_there() -> None:
    """Paths are from the root, or within the package."""
    named = set(re.findall(r"`([\w/]+(?:\.\w+|/))`", _architecture()))
    assert len(named) > 50
    missing = {name for name in named if not ((ROOT / name).exists() or (PACKAGE / name).exists())}
    assert not missing


def test_the_architecture_page_has_the_floors_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [name for layer in contracts[0]["layers"] for name in layer.split(" | ")]
    table = _architecture().partition("| floor |")[2].partition("\n\n")[0]
    floors = [
        name.removesuffix("/").removesuffix(".py").replace("/", ".") for name in re.findall(r"(?m)^\| `([^`]+)`", table)
    ]
    renamed = {"spanmask_cli": "cli", "spanmask_bench": "bench"}
    assert sorted(floors) == sorted(renamed.get(name, name) for name in layers)
    order = {
        renamed.get(name, name): place
        for place, layer in enumerate(contracts[0]["layers"])
        for name in layer.split(" | ")
    }
    assert [order[floor] for floor in floors] == sorted(order[floor] for floor in floors)
