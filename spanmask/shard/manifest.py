"""The manifest: what a dataset is, written last, read with suspicion (FORMAT.md §4)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from spanmask.config import (
    ALGORITHM_VERSION,
    FORMAT_VERSION,
    PreshardConfig,
    Segmentation,
    canonical_json,
    fingerprint,
)
from spanmask.errors import ConfigError, IncompleteShards, MismatchError, ShardError
from spanmask.escaping import short_digest
from spanmask.shard.canonical import fingerprint_of, packed, parsed, pieces, unpacked
from spanmask.shard.input_list import InputRecord
from spanmask.shard.parts import SKIPPED, check_parts
from spanmask.shard.root import Root, read_file, root_of
from spanmask.shard.stated import require, require_unigram
from spanmask.shard.table import SHARDS, ShardRecord, Split, read_table, table_bytes
from spanmask.storage import publish_bytes
from spanmask.vocab import BUILT_IN, SpecialIds, Vocabulary, vocabulary_from_entries, vocabulary_from_tokenizer

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 64 << 20
#: Formats that are read. Of format 1 masks are only taken as they are stored.
_READABLE = (1, FORMAT_VERSION)
#: What the fingerprint leaves out: how content became bytes, and which release made it.
_NOT_CONTENT = ("digest", "fingerprint", "files", "tokenized_by")


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


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished dataset: configuration, vocabulary, inputs, counts and shards.

    ``parts`` are those of the JSON object as read or written, ``digest`` included, its inputs as an `InputList`; the properties tell of
    them. ``splits`` have the shards.
    """

    parts: dict[str, Any]
    splits: dict[str, Split]

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object, with one for each input: it is made anew each time."""
        return unpacked(self.parts)

    @cached_property
    def config(self) -> PreshardConfig:
        """The resolved configuration."""
        return PreshardConfig.from_json(self.parts["config"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary: one that ships with the package, or the entries or tokenizer that the manifest holds."""
        vocabulary = build_vocabulary(self.parts["vocabulary"])
        return replace(vocabulary, base_words=True) if self.algorithm_version == 1 else vocabulary

    @cached_property
    def stated_vocabulary(self) -> StatedVocabulary:
        """What is said of the vocabulary, whether it is true or not (`verify` compares)."""
        return StatedVocabulary.from_json(self.parts["vocabulary"])

    @property
    def format_version(self) -> int:
        """The version of the format that it is written in."""
        return int(self.parts["format_version"])

    @property
    def algorithm_version(self) -> int:
        """The version of the masking rules that its masks follow."""
        return int(self.parts["algorithm_version"])

    @property
    def config_fingerprint(self) -> str:
        """The digest of everything that decided how a text became rows; see the function of this name."""
        return str(self.parts["config_fingerprint"])

    @cached_property
    def inputs(self) -> tuple[InputRecord, ...]:
        """The input files, in the order given."""
        return tuple(self.parts["inputs"].records())

    @property
    def conservation(self) -> dict[str, Any]:
        """What became of the inputs: ``tokens`` (in, kept, dropped by reason), documents in, skipped and empty, and words cut."""
        return dict(self.parts["conservation"])

    @property
    def word_rule(self) -> dict[str, int]:
        """How often each line of the word rule acted, in all splits (FORMAT.md §6.7); nothing in format 1."""
        return dict(self.parts["conservation"].get("word_rule", {}))

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Counts over the rows of each split, as `spanmask.statistics.RowStatistics` writes them."""
        return dict(self.parts["statistics"])

    @property
    def sampling(self) -> dict[str, dict[str, Any]]:
        """Counts of the draws of each split, as `spanmask.masking.Draws` writes them: what rows do not tell."""
        return dict(self.parts["sampling"])

    @property
    def words_stored(self) -> bool:
        """Whether rows carry their word starts."""
        return bool(self.parts["words"] == "stored")

    @property
    def paired(self) -> bool:
        """Whether rows are pairs of segments."""
        return self.config.sequence.segmentation is Segmentation.PAIRS

    @property
    def unigram(self) -> list[int] | None:
        """Counts of ids for unigram replacements, when used."""
        unigram = self.parts.get("unigram")
        return None if unigram is None else list(unigram["counts"])

    @property
    def tokenized_by(self) -> dict[str, str]:
        """The library that made the ids, and its version; format 1 does not say."""
        return dict(self.parts["tokenized_by"])

    @property
    def skipped(self) -> dict[str, Any] | None:
        """Lines, size and digest of `skipped.jsonl`, where there is one."""
        files: dict[str, Any] = self.parts.get("files", {})
        return files.get(SKIPPED)

    @property
    def fingerprint(self) -> str:
        """Equal for equal content, whatever bytes Arrow wrote it in."""
        return str(self.parts["fingerprint"])

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest without this digest."""
        return str(self.parts["digest"])

    def to_bytes(self) -> bytes:
        """Return the manifest as it stands in its file."""
        return b"".join(pieces(self.parts)) + b"\n"


def config_fingerprint(config: PreshardConfig, vocabulary: Vocabulary) -> str:
    """Return the digest of everything that decides how a text becomes rows, inputs apart.

    Options that have their defaults are no part of it: a later release may add some, which leave a dataset as it was.
    """
    return _config_fingerprint(config.differing(), vocabulary.sha256, ALGORITHM_VERSION, FORMAT_VERSION)


def _config_fingerprint(config: dict[str, Any], vocabulary: str, algorithm_version: int, format_version: int) -> str:
    return fingerprint(
        {
            "config": config,
            "vocabulary": vocabulary,
            "algorithm_version": algorithm_version,
            "format_version": format_version,
        }
    )


def expected_config_fingerprint(manifest: Manifest) -> str:
    """Return the fingerprint that a manifest of any format must have for its configuration."""
    # Of format 1: of all options, as they are written.
    config = manifest.parts["config"] if manifest.format_version == 1 else manifest.config.differing()
    versions = (manifest.algorithm_version, manifest.format_version)
    return _config_fingerprint(config, manifest.stated_vocabulary.sha256, *versions)


def require_current(manifest: Manifest, folder: str | os.PathLike[str], what: str) -> None:
    """Refuse a dataset whose masks this release does not draw. what: that needs them.

    Raises
    ------
    MismatchError
        It is of an earlier format, or other masking rules made it.
    """
    found, wanted = (manifest.format_version, manifest.algorithm_version), (FORMAT_VERSION, ALGORITHM_VERSION)
    if found != wanted:
        raise MismatchError(
            f"{folder} has format {found[0]} and was masked by algorithm version {found[1]}; {what} takes format {wanted[0]} "
            f"and algorithm version {wanted[1]}: preshard the text again (the masks that are stored stay readable)"
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


def build_vocabulary(known: dict[str, Any]) -> Vocabulary:
    """Build the vocabulary that `describe_vocabulary` described.

    Raises
    ------
    ShardError
        It is not what is said of it, or does not ship with this release.
    """
    if "entries" not in known and "tokenizer" not in known and known["name"] not in BUILT_IN:
        raise ShardError(f"vocabulary {known['name']!r} has no entries, and does not ship with spanmask", path=MANIFEST)
    try:
        if "tokenizer" in known:
            vocabulary = vocabulary_from_tokenizer(known["name"], known["tokenizer"])
        else:
            vocabulary = vocabulary_from_entries(known["name"], known.get("entries"), cased=known["cased"])
    except ConfigError as error:
        raise ShardError(str(error), path=MANIFEST) from None
    if (vocabulary.sha256, len(vocabulary)) != (known["sha256"], known["size"]):
        raise ShardError(
            f"vocabulary {known['name']} has {len(vocabulary)} entries and hashes to {short_digest(vocabulary.sha256)}, "
            f"the manifest says {known['size']} and {short_digest(known['sha256'])}; "
            "use the spanmask version that wrote the dataset",
            path=MANIFEST,
        )
    return vocabulary


def seal(content: dict[str, Any], splits: dict[str, Split]) -> Manifest:
    """Return the manifest of a content, with its fingerprint and digest. splits: whose shards it tells of."""
    parts = packed(json.loads(canonical_json(content)))
    parts["fingerprint"] = _content_fingerprint(parts)
    return Manifest(parts={**parts, "digest": fingerprint_of(parts)}, splits=splits)


def _content_fingerprint(content: dict[str, Any]) -> str:
    splits = {
        name: {key: value for key, value in split.items() if key != "shards"}
        for name, split in content["splits"].items()
    }
    return fingerprint_of({**{k: v for k, v in content.items() if k not in _NOT_CONTENT}, "splits": splits})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish the table of shards and then the manifest in a folder, under their names."""
    publish_bytes(folder / SHARDS, table_bytes(manifest.splits))
    publish_bytes(folder / MANIFEST, manifest.to_bytes())


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest: size, JSON, version, digests, and that it names no file outside the dataset.

    Raises
    ------
    ConfigError
        The folder does not exist, or the URL cannot be used.
    IncompleteShards
        It has no manifest.
    ShardError
        The manifest is not one, or was altered.
    """
    root = root_of(folder)
    if isinstance(root, Path) and not root.is_dir():
        raise ConfigError(f"{root}: no such folder; give the folder that `spanmask preshard --out` wrote")
    try:
        data = read_file(root, MANIFEST, MANIFEST_LIMIT)
    except IncompleteShards:
        if isinstance(root, Path) and (root / "run.json").exists():
            told = f"{root}: a run of `spanmask train`; give the dataset that it was trained on, or another"
            raise ConfigError(told) from None
        raise IncompleteShards(
            "no manifest: not a spanmask dataset, or its run did not finish; run the same preshard command again",
            path=f"{root}/{MANIFEST}",
        ) from None
    parts = checked(data)
    # Before the table is read, which may be as large.
    del data
    manifest = Manifest(parts=parts, splits=_read_splits(root, parts))
    _check_splits(manifest)
    return manifest


def checked(data: bytes) -> dict[str, Any]:
    """Return the parts of a manifest's file, after holding it to canonical JSON, version, digest and shape, in this order.

    The version comes before the digest, so that a file of another format is told as that and not as damage.
    """
    try:
        content = parsed(data)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"not JSON ({error}); the file is damaged", path=MANIFEST) from None
    if content is None:
        raise ShardError("not canonical JSON; the file is damaged or was edited", path=MANIFEST)
    version = content.get("format_version")
    if type(version) is not int or version not in _READABLE:
        known = " and ".join(map(str, _READABLE))
        raise ShardError(f"format version is {version!r}, this spanmask reads {known}", path=MANIFEST)
    if content.get("digest") != fingerprint_of({key: value for key, value in content.items() if key != "digest"}):
        raise ShardError("its digest does not match its content; the file is damaged or was edited", path=MANIFEST)
    _check_shape(content)
    return content


def _check_shape(content: dict[str, Any]) -> None:
    """Refuse a manifest that lacks or garbles a part, so that nothing else need look twice."""
    with _telling_parts():
        check_parts(content)
        StatedVocabulary.from_json(content["vocabulary"])
        config = PreshardConfig.from_json(content["config"])
        require_unigram(content.get("unigram"), config, content["vocabulary"]["size"])
    if content["fingerprint"] != _content_fingerprint(content):
        raise ShardError("its fingerprint does not match its content", path=MANIFEST)


@contextmanager
def _telling_parts() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, ConfigError) as error:
        raise ShardError(f"it lacks or garbles a part ({error})", path=MANIFEST) from None


def _read_splits(root: Root, content: dict[str, Any]) -> dict[str, Split]:
    """Return the splits: of format 1 from the manifest itself, else from the table beside it."""
    stated = content["splits"]
    if content["format_version"] == 1:
        with _telling_parts():
            return {name: Split.of(name, map(ShardRecord.from_json, known["shards"])) for name, known in stated.items()}
    return read_table(root, content["files"][SHARDS], {name: known["shards"] for name, known in stated.items()})


def _check_splits(manifest: Manifest) -> None:
    with _telling_parts():
        for name, split in manifest.splits.items():
            split.check()
            stated = manifest.parts["splits"][name]
            require(
                (split.rows, split.tokens, split.content_digest)
                == tuple(stated[key] for key in ("rows", "tokens", "content_digest")),
                f"rows, tokens or content digest of {name} are not those of its shards",
            )
