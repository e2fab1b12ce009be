"""Any value in a manifest, its digests made anew: every reader gives rows, batches and files, or says what is wrong.

What manifests say decides how much is allocated and what kernels are given, and anyone can make the digests of a changed one. The values
are put in place by walking the manifest as JSON, so that parts added later are tried as well.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from figures import THOROUGH, figure
from json_values import Place, changed, changes, named
from memory import traced

from spanmask.auditing import audit
from spanmask.config import PreshardConfig, canonical_json, fingerprint
from spanmask.errors import ShardError, SpanmaskError
from spanmask.exporting.config import ExportConfig
from spanmask.exporting.run import export
from spanmask.loading.torch_dataset import ShardDataset, ShardLoader
from spanmask.presharding.run import preshard
from spanmask.report.view import row_view
from spanmask.shard import manifest as manifests
from spanmask.shard.framing import record_batches
from spanmask.shard.listed import describe_file
from spanmask.shard.reader import open_shards
from spanmask.shard.verify import verify
from spanmask.train import TrainConfig, train

pytestmark = pytest.mark.faults

_WORDS = ["the", "a", "of", "and", "it", "was", "cats", "sat", "quietly", "un", "##believ", "##ably", ",", ".", "mats"]
_OPTIONS: dict[str, dict[str, Any]] = {
    "paper": {"holdout": 0.3, "shard_bytes": 8192},
    "reference": {"sampler": "reference"},
    "annotated": {"scheme": "annotated", "spans_field": "spans", "words_field": "words", "keep": ("number",)},
}
#: Datasets of format 1, whose manifest holds all of its shards.
_GOLDEN, _OLD = Path(__file__).parent.parent / "golden" / "format-1", ("cased", "words")


def _json_lines() -> str:
    rng = random.Random(5)
    lines = []
    for number in range(60):
        text = " ".join(rng.choice([word for word in _WORDS if "#" not in word]) for _ in range(rng.randint(8, 60)))
        cuts = sorted(rng.sample(range(len(text)), 4))
        words = sorted({0, *(place + 1 for place, char in enumerate(text) if char == " ")})
        content = {"text": text, "spans": [cuts[:2], cuts[2:]], "words": words, "number": number}
        lines.append(json.dumps(content) + "\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished dataset by name, whose vocabulary is so small that all of it is in the manifest."""
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "text.jsonl").write_text(_json_lines())
    letters = sorted({letter for word in _WORDS for letter in word if letter.isalpha()})
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*_WORDS, *letters])]
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n")
    known: dict[str, Path] = {}

    def dataset(name: str) -> Path:
        if name in _OLD:
            return _GOLDEN / name
        if name not in known:
            options = {"seed": 3, "max_tokens": 32, "vocab": str(folder / "vocab.txt"), "cased": True, **_OPTIONS[name]}
            preshard(folder / "text.jsonl", folder / name, PreshardConfig.of(**options), jobs=1)
            known[name] = folder / name
        return known[name]

    return dataset


def viewed(folder: Path) -> dict[str, Any]:
    """Return a manifest, with the rows of its table of shards, where it has one, as a part of it."""
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    if (folder / "shards.arrow").exists():
        rows = pa.ipc.open_file(folder / "shards.arrow").read_all().to_pylist()
        content["table"] = [{name: v.hex() if isinstance(v, bytes) else v for name, v in row.items()} for row in rows]
    return content


def _write_table(folder: Path, rows: list[dict[str, Any]]) -> bytes:
    """Write rows as the table of shards, whatever they hold that its types hold."""
    path = folder / "shards.arrow"
    schema = pa.ipc.open_file(path).schema
    rows = [{name: bytes.fromhex(v) if "sha256" in name else v for name, v in row.items()} for row in rows]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    path.write_bytes(sink.getvalue().to_pybytes())
    return path.read_bytes()


def _add_up(content: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Have a manifest's splits tell of as many shards, rows and tokens as there are."""
    splits = content["splits"]
    validation = splits["validation"]["shards"] if "validation" in splits else 0
    first = len(rows) - validation
    for split, shards in ((splits["train"], rows[:first]), (splits.get("validation", {}), rows[first:])):
        digest = hashlib.sha256(b"".join(bytes.fromhex(shard["content_sha256"]) for shard in shards)).hexdigest()
        sums = {name: sum(shard[name] for shard in shards) for name in ("rows", "tokens")}
        split.update(sums, shards=len(shards), content_digest=digest)


def reseal(folder: Path, content: dict[str, Any]) -> bool:
    """Write a manifest with its digests made anew, and its table if there is another; whether that can be written."""
    rows = content.pop("table", None)
    if rows is not None and rows != viewed(folder)["table"]:
        try:
            data = _write_table(folder, rows)
        except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError, KeyError):
            return False
        content["files"]["shards.arrow"] = describe_file(data)
        with suppress(KeyError, TypeError):
            _add_up(content, rows)
    elif rows is None:
        with suppress(Exception):
            for split in content["splits"].values():
                split.update({name: sum(shard[name] for shard in split["shards"]) for name in ("rows", "tokens")})
    content.pop("digest", None)
    with suppress(Exception):
        content["fingerprint"] = manifests._content_fingerprint(content)
    (folder / "manifest.json").write_bytes(canonical_json({**content, "digest": fingerprint(content)}) + b"\n")
    return True


def _load(folder: Path, **options: Any) -> None:
    loader = ShardLoader(folder, batch_size=4, **options)
    for _, _ in zip(range(3), loader, strict=False):
        pass


def _show(folder: Path) -> None:
    shards = open_shards(folder)
    for number in (0, len(shards) - 1):
        row_view(shards[number], shards.manifest.vocabulary, number)


def _train(folder: Path, run: Path) -> None:
    sizes = {"model": "tiny", "hidden": 8, "heads": 1, "layers": 1, "intermediate": 8, "device": "cpu", "threads": 1}
    train(folder, run, TrainConfig.of(**sizes, steps=1, batch_size=2, window=64, compile=False, seed=1))


def readers(folder: Path, scratch: Path) -> dict[str, Callable[[], Any]]:
    """Return all that reads a dataset, by name."""
    return {
        "open": lambda: open_shards(folder),
        "verify": lambda: verify(folder),
        "rows": lambda: [open_shards(folder)[k].original() for k in (0, -1)],
        "blocks": lambda: list(open_shards(folder).blocks),
        "audit": lambda: audit(folder),
        "show": lambda: _show(folder),
        "dataset": lambda: ShardDataset(folder, masks="fresh")[0],
        "padded stored": lambda: _load(folder, layout="padded"),
        "padded fresh": lambda: _load(folder, layout="padded", masks="fresh"),
        "bucketed": lambda: _load(folder, layout="bucketed", order="block"),
        "packed stored": lambda: _load(folder, layout="packed"),
        "packed fresh": lambda: _load(folder, layout="packed", masks="fresh"),
        "packed without numba": lambda: _load(folder, layout="packed", backend="numpy"),
        **{
            f"export {target}": lambda target=target: export(folder, scratch / target, ExportConfig.of(target=target))
            for target in ("parquet", "jsonl", "datasets", "t5")
        },
        "train": lambda: _train(folder, scratch / "run"),
    }


def attempt(what: str, read: Callable[[], Any]) -> bool:
    """Return whether something is read. Whatever is raised but a SpanmaskError fails the test, with what was tried."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
    except SpanmaskError:
        return False
    except BaseException as error:
        error.add_note(what)
        raise
    return True


def _after_opening(scratch: Path) -> list[str]:
    return [name for name in readers(scratch, scratch) if name not in ("open", "verify")]


class Trial:
    """A copy of a dataset whose manifest is changed again and again."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = Path(shutil.copytree(folder, scratch / "copy"))
        self.written = scratch / "written"
        self.content = viewed(folder)
        self.table = self.folder / "shards.arrow"
        self.table_written = self.table.read_bytes() if self.table.exists() else None
        self.values = self.opened = self.read = 0

    def __call__(self, place: Place, new: Any, wanted: Callable[[str], bool]) -> None:
        """Put a value into its place, and have the readers that are wanted read; those after `open` only if that does."""
        if self.table_written is not None:
            self.table.write_bytes(self.table_written)
        if not reseal(self.folder, changed(self.content, place, new)):
            return
        self.values += 1
        opened = False
        for name, read in readers(self.folder, self.written).items():
            if name in ("open", "verify") or (opened and wanted(name)):
                done = attempt(f"{name}: {named(place, new)}", read)
                opened = done if name == "open" else opened
                self.opened += done and name == "open"
                self.read += done and name not in ("open", "verify")
        shutil.rmtree(self.written, ignore_errors=True)

    def __str__(self) -> str:
        return (
            f"{self.values:,} values put into a manifest, {self.opened:,} opened, {self.read:,} readings gave something"
        )


#: What was met by hand: each a segmentation fault, a traceback, or memory without end.
KNOWN = [
    *((("statistics", "train", "tokens"), value) for value in (0, -1, -5000, 1 << 70)),
    (("statistics", "train", "histograms", "row_tokens"), []),
    (("statistics", "train", "histograms", "row_tokens"), [0]),
    (("statistics", "train"), {}),
    (("vocabulary", "special_ids", "pad"), 1 << 40),
    (("vocabulary", "size"), 1 << 62),
    (("config", "corpus", "keep"), ["x"]),
    (("splits", "train"), None),
]


@pytest.mark.parametrize("name", [*_OPTIONS, *_OLD])
def test_some_values_put_into_a_manifest_are_read_or_refused(
    name: str, made: Callable[[str], Path], tmp_path: Path, tell: Callable[[str], None], count: Callable[[int], None]
) -> None:
    """A sample, each value that opens with one of the readers in turn; more of it is in the slow leg."""
    trial = Trial(made(name), tmp_path)
    chosen = random.Random(name).sample(changes(trial.content, "digest", "fingerprint"), 40)
    turns = _after_opening(tmp_path)
    for place, new in KNOWN:
        trial(place, new, lambda _: True)
    for (place, new), turn in zip(chosen, cycle(turns), strict=False):
        trial(place, new, lambda reader, turn=turn: reader == turn)
    tell(str(trial))
    count(trial.values)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", [*_OPTIONS, *_OLD])
def test_any_value_put_into_a_manifest_is_read_or_refused(
    name: str, made: Callable[[str], Path], tmp_path: Path, tell: Callable[[str], None], count: Callable[[int], None]
) -> None:
    """A seventh of the values, of each dataset another, by a fifth of the readers in turn where they open.

    All by all in a long run (SPANMASK_THOROUGH). A place has 15, 20 or 22 values: two or more of each place are tried, and
    not the same ones of two places in a row.
    """
    trial = Trial(made(name), tmp_path)
    turns = _after_opening(tmp_path)
    fifths = [set(turns[number::5]) for number in range(5)]
    chosen = changes(trial.content, "digest", "fingerprint")[figure([*_OPTIONS, *_OLD].index(name), 0) :: figure(7, 1)]
    for (place, new), some in zip(chosen, cycle(fifths), strict=False):
        trial(place, new, lambda reader, some=some: THOROUGH or reader in some)
    tell(str(trial))
    count(trial.values)


def _as_many(content: dict[str, Any], rows: int, tokens: int, size: int) -> dict[str, Any]:
    """A manifest whose every count tells of so many rows in its one shard, without a span."""
    content["table"][0].update(rows=rows, tokens=tokens, bytes=size)
    (counts,) = content["statistics"].values()
    counts.update(rows=rows, tokens=max(tokens - 2 * rows, 0), masked_tokens=0, spans=0)
    of_rows = ("row_tokens", "row_masked", "row_spans")
    counts["histograms"] = {name: [rows] * (rows > 0 and name in of_rows) for name in counts["histograms"]}
    return content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "tokens", "size"),
    [
        ((1 << 40) - 1, (1 << 40) - 1, (1 << 40) - 1),
        (1 << 34, 3 << 34, (1 << 40) - 1),
        (1 << 62, 3 << 60, 1 << 62),
        (1 << 25, 3 << 25, 1 << 30),
        (1 << 20, 3 << 20, (34 << 20) - 1),
        (1024, 1 << 47, 1 << 40),
        (0, 0, 1000),
        (100, 200, 10_000),
    ],
)
def test_rows_that_no_file_holds_are_refused_before_anything_is_allocated(
    rows: int, tokens: int, size: int, made: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made("reference"), tmp_path / "copy"))
    assert reseal(folder, _as_many(viewed(folder), rows, tokens, size))
    with traced() as found:
        for name, read in readers(folder, tmp_path / "out").items():
            if name != "verify":
                with pytest.raises(ShardError, match=r"rows and tokens take|no count"):
                    read()
    assert found.peak < 1 << 20
    assert not verify(folder).ok


@pytest.mark.parametrize("size", [104, 28_997, 65_536, 1 << 30])
def test_no_model_is_built_for_a_vocabulary_of_another_size(size: int, tmp_path: Path) -> None:
    """One that ships with the package is not in the manifest, so that its size is only stated there."""
    folder = Path(shutil.copytree(_GOLDEN / "cased", tmp_path / "copy"))
    reseal(folder, changed(viewed(folder), ("vocabulary", "size"), size))
    with pytest.raises(ShardError, match="has 28996 entries"):
        _train(folder, tmp_path / "run")


#: Whole numbers of the framing of an Arrow file: lengths, offsets, counts of rows and batches.
_WORDS_THERE = (0, 1, -1, 7, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))


def _framing(data: bytes) -> list[int]:
    """Return where the words of a file of one record batch lie that are in no column: of its schema, its batch's message and its footer."""
    (batch,) = record_batches(data)
    message = 8 + int.from_bytes(data[batch + 4 : batch + 8], "little")
    footer = len(data) - 10 - int.from_bytes(data[-10:-6], "little")
    return [*range(8, batch + message, 4), *range(footer, len(data) - 4, 4)]


@pytest.mark.parametrize("every", [499, pytest.param(figure(19, 7), marks=pytest.mark.slow, id="slow")])
def test_numbers_in_a_shards_own_framing_are_read_or_refused(
    every: int, made: Callable[[str], Path], tmp_path: Path, tell: Callable[[str], None], count: Callable[[int], None]
) -> None:
    """Its digest made anew in the manifest, as the digests of all else. A place has 20 cases, and 19 shares no divisor with them."""
    folder = Path(shutil.copytree(made("reference"), tmp_path / "copy"))
    content = viewed(folder)
    (path,) = (folder / "train").iterdir()
    data = path.read_bytes()
    cases = [(place, word, width) for place in _framing(data) for word in _WORDS_THERE for width in (4, 8)][::every]
    read = 0
    for place, word, width in cases:
        new = data[:place] + (word % (1 << 8 * width)).to_bytes(width, "little") + data[place + width :]
        path.write_bytes(new[: len(data)])
        content["table"][0]["sha256"] = hashlib.sha256(new[: len(data)]).hexdigest()
        reseal(folder, dict(content))
        for name in ("verify", "blocks", "packed stored", "padded fresh", "export jsonl"):
            read += attempt(f"{name}: {word} at byte {place}", readers(folder, tmp_path / "out")[name])
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    count(len(cases))
    tell(f"{len(cases):,} numbers put into the framing of a shard, {read:,} readings gave something")
