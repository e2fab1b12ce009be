"""The public `export`: a finished dataset in, the same rows in another format out, whole or not at all."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from spanmask.config import canonical_json
from spanmask.errors import ConfigError
from spanmask.exporting.config import ExportConfig, Target
from spanmask.exporting.formats import JSONL_SUFFIXES, write_datasets, write_jsonl, write_parquet, write_splits
from spanmask.exporting.sentinels import Sentinels, choose_sentinels, with_sentinels
from spanmask.exporting.verified import VerifiedRows
from spanmask.folders import NewFolder, claimed, publish_folder
from spanmask.shard.manifest import Manifest, read_manifest
from spanmask.shard.reader import OnRows
from spanmask.shard.root import Root, root_of
from spanmask.shard.table import Split
from spanmask.storage import publish, refuse_url, reporting

#: The file in an exported folder that says what it is, written last. Readers of data skip names that begin with an underscore.
MARKER = "_spanmask.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What `export` wrote. rows: by split. fingerprint: of the dataset. sentinels: with target ``t5``."""

    target: Target
    fingerprint: str
    rows: dict[str, int]
    sentinels: Sentinels | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        known = {"to": str(self.target), "fingerprint": self.fingerprint, "rows": self.rows}
        return known if self.sentinels is None else {**known, "sentinels": asdict(self.sentinels)}


def export(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: ExportConfig,
    *,
    overwrite: bool = False,
    on_progress: OnRows | None = None,
) -> Exported:
    """Write the rows of a finished dataset in another format; each record batch is verified on the way.

    Parameters
    ----------
    folder
        A finished dataset, or its URL.
    out
        Folder to write; with target ``jsonl`` and one split, also a file, whose name ends in .jsonl, .jsonl.gz or .jsonl.zst.
    config
        Format, splits, sentinels.
    overwrite
        Whether an earlier export in ``out`` is replaced, once the new one is complete.
    on_progress
        Called with the rows read, and all rows to read, as the work goes on.

    Raises
    ------
    ConfigError
        There is no such dataset or split, ``out`` cannot be used, or a sentinel would be a token.
    MismatchError
        Another process is writing ``out``.
    ShardError
        A shard or the manifest is damaged or missing.
    StorageError
        The file system refused; nothing is left behind.
    """
    refuse_url(out, "out")
    root, place = root_of(folder), Path(out).absolute()
    with reporting(root, "open"):
        manifest = read_manifest(root)
    splits = _choose_splits(manifest, config.splits, root)
    if isinstance(root, Path):
        _refuse_nested(root, place)
    sentinels = choose_sentinels(config.sentinels, manifest, splits) if config.target is Target.T5 else None
    rows = {split.name: split.rows for split in splits}
    exported = Exported(target=config.target, fingerprint=manifest.fingerprint, rows=rows, sentinels=sentinels)
    verified = VerifiedRows(root, manifest, splits, on_progress)
    if config.target is Target.JSONL and place.name.endswith(tuple(JSONL_SUFFIXES)):
        _write_file(verified, place, overwrite=overwrite)
        return exported
    with publish_folder(place, partial(_check_free, place, overwrite=overwrite)) as written:
        _write_splits(verified, written, exported)
        written.write_bytes(MARKER, canonical_json(exported.to_json()) + b"\n")
    return exported


def _choose_splits(manifest: Manifest, names: tuple[str, ...], root: Root) -> tuple[Split, ...]:
    known = manifest.splits
    for name in names:
        if name not in known:
            raise ConfigError(f"{root} has no split {name!r}; it has {', '.join(known)}")
    return tuple(split for name, split in known.items() if not names or name in names)


def _refuse_nested(root: Path, place: Path) -> None:
    """Refuse to write inside the dataset, or around it."""
    dataset, target = root.resolve(), place.resolve()
    if target.is_relative_to(dataset) or dataset.is_relative_to(target):
        raise ConfigError(f"{place}: it is, or holds, or lies in the dataset {root}; choose another --out")


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a path where something stands, but for what an export wrote and an empty folder, with ``overwrite``.

    Raises
    ------
    ConfigError
        Something stands there.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise ConfigError(f"{out}: something stands there; choose another --out, or give --overwrite")
    with reporting(out, "read"):
        ours = not out.is_symlink() and out.is_dir() and ((out / MARKER).is_file() or not any(out.iterdir()))
    if not ours:
        raise ConfigError(f"{out}: --overwrite replaces an exported folder, which this is not; choose another --out")


def _write_file(rows: VerifiedRows, out: Path, *, overwrite: bool) -> None:
    if len(rows.splits) > 1:
        names = ", ".join(split.name for split in rows.splits)
        raise ConfigError(f"{out}: one file holds one split, not {names}; name one with --split, or give a folder")
    compression = next(how for suffix, how in JSONL_SUFFIXES.items() if out.name.endswith(suffix))
    with claimed(out) as folder:
        if not (overwrite and out.is_file()):
            _check_free(out, overwrite=False)
        publish(out, lambda file: write_jsonl(rows, rows.splits[0], file, compression), folder / out.name)


def _write_splits(rows: VerifiedRows, written: NewFolder, exported: Exported) -> None:
    for split in rows.splits:
        match exported.target:
            case Target.PARQUET:
                write_parquet(rows, split, written)
            case Target.T5:
                assert exported.sentinels is not None  # noqa: S101
                write_parquet(rows, split, written, partial(with_sentinels, sentinels=exported.sentinels))
            case Target.DATASETS:
                write_datasets(rows, split, written)
            case Target.JSONL:
                written.write(f"{split.name}.jsonl", partial(write_jsonl, rows, split))
            case other:
                assert_never(other)
    if exported.target is Target.DATASETS:
        write_splits(exported.rows, written)
