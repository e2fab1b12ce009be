"""The manifest: what a dataset is, written last, read with suspicion (FORMAT.md §4)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from spanmask.config import ALGORITHM_VERSION, FORMAT_VERSION, PreshardConfig, canonical_json, fingerprint
from spanmask.errors import ConfigError, IncompleteShards, ShardError
from spanmask.storage import publish_bytes, reporting
from spanmask.vocab import BUILT_IN, SpecialIds, Vocabulary, vocabulary_from_entries, vocabulary_from_tokenizer

MANIFEST = "manifest.json"
SPLITS = ("train", "validation")
_SIZE_LIMIT = 64 << 20
_SHARD_PATH = re.compile(r"(train|validation)/shard-[0-9]{5,}-[0-9]{5,}(_[0-9]{2,})?\.arrow")
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: The parts of a manifest, and of an input in it.
_PARTS: dict[str, type] = {
    "format_version": int,
    "algorithm_version": int,
    "config": dict,
    "config_fingerprint": str,
    "vocabulary": dict,
    "words": str,
    "inputs": list,
    "conservation": dict,
    "statistics": dict,
    "sampling": dict,
    "splits": dict,
    "fingerprint": str,
    "digest": str,
}
_INPUT_PARTS: dict[str, type] = {"index": int, "name": str, "size": int, "sha256": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One shard file: where it lies in the dataset, what it holds, and its digests. first, last: identities of its outer rows."""

    path: str
    rows: int
    tokens: int
    bytes: int
    sha256: str
    content_sha256: str
    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of a record."""
        return cls(**{**value, "first": tuple(value["first"]), "last": tuple(value["last"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One input file, whose ``index`` is in the identities of its documents. name: base name. size: bytes on disk."""

    index: int
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedVocabulary:
    """What a manifest says of its vocabulary beside its entries, known without building it. cased: None with a tokenizer's own casing."""

    name: str
    size: int
    sha256: str
    cased: bool | None
    special: SpecialIds

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `describe_vocabulary` wrote."""
        known = {name: value[name] for name in ("name", "size", "sha256", "cased")}
        return cls(**known, special=SpecialIds(**value["special_ids"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The shards of a split, in order."""

    name: str
    shards: tuple[ShardRecord, ...]

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens in all shards, special ones included."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def content_digest(self) -> str:
        """SHA-256 of the shards' content digests in order."""
        return hashlib.sha256(b"".join(bytes.fromhex(shard.content_sha256) for shard in self.shards)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the split as the manifest writes it."""
        shards = [asdict(shard) for shard in self.shards]
        return {"rows": self.rows, "tokens": self.tokens, "content_digest": self.content_digest, "shards": shards}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished dataset: configuration, vocabulary, inputs, counts and shards.

    ``content`` is the JSON object as read or written, ``digest`` included; the properties are its parts.
    """

    content: dict[str, Any]

    @cached_property
    def config(self) -> PreshardConfig:
        """The resolved configuration."""
        return PreshardConfig.from_json(self.content["config"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary: one that ships with the package, or the entries or tokenizer that the manifest holds."""
        known = self.content["vocabulary"]
        if "entries" not in known and "tokenizer" not in known and known["name"] not in BUILT_IN:
            raise ShardError(
                f"vocabulary {known['name']!r} has no entries, and does not ship with spanmask", path=MANIFEST
            )
        try:
            if "tokenizer" in known:
                vocabulary = vocabulary_from_tokenizer(known["name"], known["tokenizer"])
            else:
                vocabulary = vocabulary_from_entries(known["name"], known.get("entries"), cased=known["cased"])
        except ConfigError as error:
            raise ShardError(str(error), path=MANIFEST) from None
        if vocabulary.sha256 != known["sha256"]:
            raise ShardError(
                f"vocabulary {known['name']} hashes to {vocabulary.sha256}, the manifest says {known['sha256']}; "
                "use the spanmask version that wrote the dataset",
                path=MANIFEST,
            )
        return vocabulary

    @cached_property
    def stated_vocabulary(self) -> StatedVocabulary:
        """What is said of the vocabulary, whether it is true or not (`verify` compares)."""
        return StatedVocabulary.from_json(self.content["vocabulary"])

    @property
    def algorithm_version(self) -> int:
        """The version of the masking rules that its masks follow."""
        return int(self.content["algorithm_version"])

    @property
    def config_fingerprint(self) -> str:
        """The digest of everything that decided how a text became rows; see the function of this name."""
        return str(self.content["config_fingerprint"])

    @cached_property
    def inputs(self) -> tuple[InputRecord, ...]:
        """The input files, in the order given."""
        return tuple(InputRecord(**item) for item in self.content["inputs"])

    @property
    def conservation(self) -> dict[str, Any]:
        """What became of the inputs: ``tokens`` (in, kept, dropped by reason), documents in, skipped and empty, and words cut."""
        return dict(self.content["conservation"])

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Counts over the rows of each split, as `spanmask.statistics.RowStatistics` writes them."""
        return dict(self.content["statistics"])

    @property
    def sampling(self) -> dict[str, dict[str, Any]]:
        """Counts of the draws of each split, as `spanmask.masking.Draws` writes them: what rows do not tell."""
        return dict(self.content["sampling"])

    @property
    def words_stored(self) -> bool:
        """Whether rows carry their word starts."""
        return bool(self.content["words"] == "stored")

    @property
    def unigram(self) -> list[int] | None:
        """Counts of ids for unigram replacements, when used."""
        unigram = self.content.get("unigram")
        return None if unigram is None else list(unigram["counts"])

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {
            name: Split(name=name, shards=tuple(ShardRecord.from_json(shard) for shard in value["shards"]))
            for name, value in self.content["splits"].items()
        }

    @property
    def fingerprint(self) -> str:
        """Equal for equal content, whatever bytes Arrow wrote it in."""
        return str(self.content["fingerprint"])

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest without this digest."""
        return str(self.content["digest"])

    def to_bytes(self) -> bytes:
        """Return the manifest as it stands in its file."""
        return canonical_json(self.content) + b"\n"


def config_fingerprint(config: PreshardConfig, vocabulary: Vocabulary) -> str:
    """Return the digest of everything that decides how a text becomes rows, inputs apart."""
    return fingerprint(
        {
            "config": config.to_json(),
            "vocabulary": vocabulary.sha256,
            "algorithm_version": ALGORITHM_VERSION,
            "format_version": FORMAT_VERSION,
        }
    )


def describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a vocabulary as manifests write it; one that does not ship with the package is in it whole."""
    described: dict[str, Any] = {
        "name": vocabulary.name,
        "size": len(vocabulary),
        "sha256": vocabulary.sha256,
        "cased": vocabulary.cased,
        "special_ids": vocabulary.special.as_dict(),
    }
    if vocabulary.tokenizer is not None:
        described["tokenizer"] = vocabulary.tokenizer
    elif not vocabulary.built_in:
        described["entries"] = list(vocabulary.entries)
    return described


def seal(content: dict[str, Any]) -> Manifest:
    """Return the manifest of a content, with its fingerprint and digest."""
    content = json.loads(canonical_json(content))
    content["fingerprint"] = _content_fingerprint(content)
    return Manifest(content={**content, "digest": fingerprint(content)})


def _content_fingerprint(content: dict[str, Any]) -> str:
    splits = {
        name: {key: value for key, value in split.items() if key != "shards"}
        for name, split in content["splits"].items()
    }
    return fingerprint({**{k: v for k, v in content.items() if k not in ("digest", "fingerprint")}, "splits": splits})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish a manifest in a folder, under its name."""
    publish_bytes(folder / MANIFEST, manifest.to_bytes())


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest: size, JSON, version, digests, and that it names no file outside the dataset.

    Raises
    ------
    ConfigError
        The folder does not exist.
    IncompleteShards
        It has no manifest.
    ShardError
        The manifest is not one, or was altered.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder; give the folder that `spanmask preshard --out` wrote")
    path = root / MANIFEST
    if not path.exists():
        raise IncompleteShards(
            "no manifest: not a spanmask dataset, or its run did not finish; run the same preshard command again",
            path=str(path),
        )
    return Manifest(content=_checked(_read_regular(path)))


def _read_regular(path: Path) -> bytes:
    with reporting(path, "read"):
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _SIZE_LIMIT:
            raise ShardError(f"not a regular file of at most {_SIZE_LIMIT} bytes", path=MANIFEST)
        return path.read_bytes()


def _checked(data: bytes) -> dict[str, Any]:
    """Return the content of a manifest's file, after holding it to canonical JSON, version, digest and shape, in this order.

    The version comes before the digest, so that a file of another format is told as that and not as damage.
    """
    try:
        content = json.loads(data.decode("utf-8"))
        canonical = canonical_json(content) + b"\n"
    except (ValueError, RecursionError) as error:
        raise ShardError(f"not JSON ({error}); the file is damaged", path=MANIFEST) from None
    if not isinstance(content, dict) or canonical != data:
        raise ShardError("not canonical JSON; the file is damaged or was edited", path=MANIFEST)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise ShardError(f"format version is {version!r}, this spanmask reads {FORMAT_VERSION}", path=MANIFEST)
    if content.get("digest") != fingerprint({key: value for key, value in content.items() if key != "digest"}):
        raise ShardError("its digest does not match its content; the file is damaged or was edited", path=MANIFEST)
    _check_shape(content)
    return content


def _check_shape(content: dict[str, Any]) -> None:
    """Refuse a manifest that lacks or garbles a part, so that nothing else need look twice."""
    try:
        _require_parts(content, _PARTS)
        for item in content["inputs"]:
            _require_parts(item, _INPUT_PARTS)
            InputRecord(**item)
        manifest = Manifest(content=content)
        _require_vocabulary(content["vocabulary"], content["words"])
        StatedVocabulary.from_json(content["vocabulary"])
        _require_counts(content)
        for split in manifest.splits.values():
            _require_split(split, content["splits"][split.name])
        manifest.config  # noqa: B018
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ShardError(f"it lacks or garbles a part ({error})", path=MANIFEST) from None
    if content["fingerprint"] != _content_fingerprint(content):
        raise ShardError("its fingerprint does not match its content", path=MANIFEST)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_parts(value: Any, parts: dict[str, type]) -> None:
    for name, kind in parts.items():
        _require(type(value[name]) is kind, f"{name!r} is no {kind.__name__}")


def _require_vocabulary(known: dict[str, Any], words: str) -> None:
    entries = known.get("entries", [])
    _require_parts(known, {"name": str, "size": int, "sha256": str, "special_ids": dict})
    if "tokenizer" in known:
        _require_parts(known, {"tokenizer": str, "cased": type(None)})
        _require("entries" not in known and words == "stored", "words of a tokenizer are not stored")
    else:
        _require_parts(known, {"cased": bool})
    _require(
        type(entries) is list and all(type(entry) is str for entry in entries),
        "the vocabulary's entries are no strings",
    )


def _require_counts(content: dict[str, Any]) -> None:
    names = set(content["splits"])
    _require(names <= set(SPLITS) and bool(names), f"its splits are {sorted(names)}")
    _require(names == set(content["statistics"]) == set(content["sampling"]), "its counts are not of its splits")
    tokens = content["conservation"]["tokens"]
    _require(_are_counts([tokens["in"], tokens["kept"], *tokens["dropped"].values()]), "tokens are no counts")
    _require(content["words"] in ("table", "stored"), "words are neither table nor stored")
    unigram = content.get("unigram")
    _require(unigram is None or _are_counts(unigram["counts"]), "unigram counts are no counts")


def _are_counts(values: list[Any], limit: int = 1 << 48) -> bool:
    return all(type(value) is int and 0 <= value < limit for value in values)


def _require_split(split: Split, stated: dict[str, Any]) -> None:
    """Refuse a split whose shards lie outside its folder, are named twice or have impossible figures, or do not add up to its own."""
    for shard in split.shards:
        known = isinstance(shard.path, str) and _SHARD_PATH.fullmatch(shard.path)
        _require(bool(known) and shard.path.startswith(f"{split.name}/"), f"{shard.path!r} is no shard of {split.name}")
        _require(_are_counts([shard.rows, shard.tokens, shard.bytes]), f"{shard.path}: its sizes are no counts")
        identities = (shard.first, shard.last)
        _require(
            all(len(pair) == 2 and _are_counts([*pair], 1 << 64) for pair in identities), f"{shard.path}: no identities"
        )
        _require(
            all(_DIGEST.fullmatch(digest) for digest in (shard.sha256, shard.content_sha256)),
            f"{shard.path}: no digests",
        )
    _require(bool(split.shards), f"{split.name} has no shard")
    _require(len({shard.path for shard in split.shards}) == len(split.shards), f"{split.name} names a shard twice")
    found = (split.rows, split.tokens, split.content_digest)
    _require(
        found == tuple(stated[name] for name in ("rows", "tokens", "content_digest")),
        f"rows, tokens or content digest of {split.name} are not those of its shards",
    )
