"""What stands in the folder of a dataset already: nothing, the dataset asked for, another one, or an unfinished run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spanmask.config import ALGORITHM_VERSION, FORMAT_VERSION, PreshardConfig
from spanmask.corpus.inputs import InputFile
from spanmask.errors import ConfigError, MismatchError, ShardError
from spanmask.escaping import first_of
from spanmask.folders import refuse_links
from spanmask.presharding.destinations import Out, state_of
from spanmask.presharding.locations import unchanged
from spanmask.presharding.state import FOLDER, PLAN
from spanmask.shard.manifest import MANIFEST, Manifest, config_fingerprint, read_manifest
from spanmask.shard.parts import SPLITS
from spanmask.storage import reporting
from spanmask.vocab import load_vocabulary

#: Encodings that people call otherwise than Python does.
_ENCODINGS = {"iso8859-1": "latin-1"}


def check_out(out: Out) -> None:
    """Refuse a place that holds anything but a dataset, or a run that began there.

    Raises
    ------
    ConfigError
        A file, or a folder or prefix of other things, or one in which links lead elsewhere.
    StorageError
        It cannot be listed.
    """
    if isinstance(out, Path):
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: a file stands there; choose another --out")
        refuse_links(*(out / name for name in (FOLDER, *SPLITS)))
    # Asked once more, since what lies there may be of a run that began in the meantime.
    if not _has_begun(out) and _holds_anything(out) and not _has_begun(out):
        what = "the folder is not empty" if isinstance(out, Path) else "objects lie below it"
        raise ConfigError(f"{out}: {what}, and no spanmask run began there; choose another --out")


def _has_begun(out: Out) -> bool:
    """Tell whether a run began there; one that ends has its manifest before its state goes."""
    if isinstance(out, Path):
        return (out / FOLDER).exists() or (out / MANIFEST).exists()
    return bool(out.size(f"{FOLDER}/{PLAN}") or out.size(MANIFEST))


def _holds_anything(out: Out) -> bool:
    if not isinstance(out, Path):
        return bool(out.names())
    with reporting(out, "list"):
        return out.is_dir() and any(out.iterdir())


def finished_dataset(
    folder: Out, config: PreshardConfig, files: Sequence[InputFile], *, overwrite: bool, rehash: bool
) -> Manifest | None:
    """Return the finished dataset that stands there when it is the one asked for; None where none stands, or it may be replaced.

    Raises
    ------
    MismatchError
        It is another one, or damaged.
    """
    if not state_of(folder).is_finished:
        return None
    # Without a lock and without a rename, what is replaced would be neither the one nor the other for a while.
    overwrite = overwrite and isinstance(folder, Path)
    try:
        manifest = read_manifest(folder)
    except ShardError as error:
        if overwrite:
            return None
        raise MismatchError(f"{folder}: a damaged dataset stands there ({error}); {_instead(folder)}") from error
    if manifest.format_version != FORMAT_VERSION and not overwrite:
        raise MismatchError(
            f"{folder}: a dataset of format {manifest.format_version} stands there, which stays readable; this spanmask writes format "
            f"{FORMAT_VERSION}: {_instead(folder)}"
        )
    wanted = config_fingerprint(config, load_vocabulary(config.vocabulary))
    if manifest.config_fingerprint == wanted and unchanged(manifest, files, rehash=rehash):
        return manifest
    if not overwrite:
        raise MismatchError(refusal(folder, "a finished dataset", _differences_of(manifest, config, files)))
    return None


def _differences_of(manifest: Manifest, config: PreshardConfig, files: Sequence[InputFile]) -> list[str]:
    """Say how a finished dataset differs from the one asked for."""
    found = {
        "versions": {"algorithm": manifest.algorithm_version},
        "config": manifest.config.differing(),
        "vocabulary": manifest.stated_vocabulary.sha256,
        "inputs": [{"name": f"{item.name} ({item.size:,} bytes)"} for item in manifest.inputs],
    }
    wanted = {
        "versions": {"algorithm": ALGORITHM_VERSION},
        "config": config.differing(),
        "vocabulary": load_vocabulary(config.vocabulary).sha256,
        "inputs": [{"name": f"{file.name} ({file.size:,} bytes)"} for file in files],
    }
    return differences(found, wanted) or ["inputs: the content of one changed"]


def _instead(out: Out) -> str:
    other = (
        "give --overwrite"
        if isinstance(out, Path)
        else "remove all below it first: nothing is replaced in an object store"
    )
    return f"choose another --out, or {other}"


def refusal(folder: Out, what: str, lines: list[str]) -> str:
    """Return the message that refuses to touch what stands in a folder, with how it differs from what was asked for."""
    told = "; ".join(lines)
    return f"{folder}: {what} of another configuration stands there ({told}); {_instead(folder)}"


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what differs between two descriptions of a run, one line each. found: as a file has it, which may be damaged."""
    try:
        return _differences(found, wanted)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return [f"what describes it is damaged: {error}"]


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    there, here = (_options(known["config"]) for known in (found, wanted))
    unlike = [name for name, value in here.items() if there.get(name) != value]
    lines = [f"{name}: {there.get(name)!r} there, {here[name]!r} here" for name in unlike]
    if found["vocabulary"] != wanted["vocabulary"]:
        lines.append("vocabulary: its entries differ")
    if found["versions"] != wanted["versions"]:
        lines.append(f"versions: {found['versions']} there, {wanted['versions']} here")
    if found["inputs"] != wanted["inputs"]:
        found_names, names = (first_of([item["name"] for item in known["inputs"]], 3) for known in (found, wanted))
        lines.append(f"inputs: {found_names} there, {names} here (or their content changed)")
    return lines


def _options(config: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a configuration as JSON, without sections; as they stand where another release has others."""
    with suppress(ConfigError):
        config = PreshardConfig.from_json(config).to_json()
    options = {name: value for section in config.values() for name, value in section.items()}
    if "encoding" in options:
        options["encoding"] = _ENCODINGS.get(options["encoding"], options["encoding"])
    return options
