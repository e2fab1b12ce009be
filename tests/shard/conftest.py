"""Datasets of every kind, presharded once; copies of them to damage; and a way to change rows with every digest right again."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from resealed import reseal

from spanmask.config import PreshardConfig
from spanmask.presharding.run import preshard
from spanmask.records import MaskedBlock
from spanmask.shard import manifest as manifests
from spanmask.shard.manifest import Manifest, read_manifest
from spanmask.shard.schema import BATCH_ROWS, first_unpaired, from_record_batch
from spanmask.shard.structure import structure_problem
from spanmask.shard.writer import write_shard
from spanmask.statistics import RowStatistics
from spanmask.vocab import Vocabulary

Shards = list[list[dict[str, Any]]]

_TEXT = (
    "the a of and it was she cats sat quietly unbelievably tokenization Zürich naïve antidisestablishmentarianism 1984 "
    "U.S. don't [MASK] 猫 running , ; ( ) semi-final Wittgenstein's embroidered Constantinople ø re-examined"
)
_WORDS = _TEXT.split()
_KEPT = ("number", "name", "flag", "score")
#: What the datasets are made with; all but the text ones from JSONL.
_RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"holdout": 0.3, "shard_bytes": 4096},
    "single": {},
    "reference": {"sampler": "reference"},
    "word": {"scheme": "word"},
    "token": {"scheme": "token"},
    "annotated": {"scheme": "annotated", "spans_field": "spans", "format": "jsonl"},
    "stored": {"words_field": "words", "keep": _KEPT, "format": "jsonl", "shard_bytes": 4096},
    "pairs": {"segmentation": "pairs"},
    "nulls": {"keep": ("seldom", *_KEPT, "never"), "format": "jsonl", "shard_bytes": 4096, "holdout": 0.2},
}


def _line(rng: random.Random) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(3, 40)))


def _text(documents: int) -> str:
    rng = random.Random(documents)
    return "\n\n".join("\n".join(_line(rng) for _ in range(rng.randint(1, 5))) for _ in range(documents)) + "\n"


def _json_lines(documents: int, *, nulls: bool) -> str:
    rng = random.Random(documents)
    lines = []
    for number in range(documents):
        text = _line(rng)
        cuts = sorted(rng.sample(range(len(text)), 6))
        content = {
            "text": text,
            "spans": list(zip(cuts[::2], cuts[1::2], strict=True)),
            "words": sorted({0, *rng.sample(range(len(text)), len(text) // 4)}),
            "number": number,
            "name": f"é{number}" * (number % 3),
            "flag": number % 2 == 0,
            "score": number / 4,
        }
        if nulls:
            content |= {"seldom": None if number % 7 else f"{number}é", "never": None}
            content |= dict.fromkeys(("number", "flag", "score")) if number % 5 == 1 else {}
        lines.append(json.dumps(content) + "\n")
    return "".join(lines)


@pytest.fixture(scope="session", autouse=True)
def one_vocabulary() -> Iterator[None]:
    """Load each vocabulary once: a manifest loads its own, which is most of the time that verifying a small dataset takes."""
    load = manifests.vocabulary_from_entries

    @cache
    def known(name: str, cased: bool) -> Vocabulary:
        return load(name, None, cased=cased)

    def loaded(name: str, entries: Sequence[str] | None, *, cased: bool) -> Vocabulary:
        return known(name, cased) if entries is None else load(name, entries, cased=cased)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "vocabulary_from_entries", loaded)
        yield


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished dataset by the name of its recipe, not to be changed."""
    made: dict[str, Path] = {}

    def dataset(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            options = {"seed": 7, "max_tokens": 48, "min_tokens": 6, **_RECIPES[name]}
            jsonl = options.get("format") == "jsonl"
            source = folder / ("input.jsonl" if jsonl else "input.txt")
            source.write_text(
                _json_lines(150, nulls=name == "nulls") if jsonl else _text(2 if name == "single" else 60)
            )
            preshard(source, folder / "dataset", PreshardConfig.of(**options), jobs=1)
            made[name] = folder / "dataset"
        return made[name]

    return dataset


@pytest.fixture
def fresh(datasets: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a dataset, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(datasets(name), tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"))

    return copy


def _blocks(table: pa.Table) -> list[pa.RecordBatch]:
    return table.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)


def _counted(manifest: Manifest, tables: list[pa.Table]) -> RowStatistics | None:
    """Count rows, where they are sound enough to be counted."""
    counted = RowStatistics()
    for batch in (batch for table in tables for batch in _blocks(table)):
        block: MaskedBlock = from_record_batch(batch)
        if first_unpaired(batch) or structure_problem(block, len(manifest.vocabulary)):
            return None
        counted.add(block, manifest.vocabulary, manifest.config.masking.mask_fraction)
    return counted


def _rewrite(folder: Path, edit: Callable[[Shards], Any], split: str = "train") -> Manifest:
    manifest = read_manifest(folder)
    paths = [record.path for record in manifest.splits[split].shards]
    tables = [pa.ipc.open_file(folder / path).read_all() for path in paths]
    shards = [table.to_pylist() for table in tables]
    edit(shards)
    tables = [pa.Table.from_pylist(rows, schema=tables[0].schema) for rows in shards]
    records = [write_shard(folder, path, table) for path, table in zip(paths, tables, strict=True)]
    counted = _counted(manifest, tables)

    def change(content: dict[str, Any]) -> None:
        if counted is not None:
            content["statistics"][split] = counted.to_json()
            kept = sum(counts["tokens"] - counts.get("repeated_tokens", 0) for counts in content["statistics"].values())
            tokens = content["conservation"]["tokens"]
            tokens.update({"in": tokens["in"] - tokens["kept"] + kept, "kept": kept})

    return reseal(folder, change, {split: records})


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., Manifest]:
    """Edit the rows of a split's shards as dictionaries of lists; digests, checksums, counts and manifest are right again."""
    return _rewrite
