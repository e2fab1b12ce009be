"""Finished datasets are left alone, others are refused by name, and unfinished runs go on."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from figures import figure
from planted import plant

from spanmask import ConfigError, CorpusError, MismatchError, PreshardConfig, StorageError, folders, preshard, verify
from spanmask.config import SequenceConfig, VocabularyConfig
from spanmask.presharding import existing
from spanmask.presharding import state as state_module
from spanmask.presharding.comparing import verify_source
from spanmask.presharding.state import RunState, locked
from spanmask.shard import manifest as manifests
from spanmask.shard.manifest import config_fingerprint, read_manifest
from spanmask.vocab import load_vocabulary


def _times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *sorted(folder.rglob("*"))]}


@pytest.fixture
def finished(lab: Any) -> Any:
    lab.path = lab.text(count=60)
    lab.manifest = lab.run(lab.path, "out", holdout=0.2)
    return lab


def test_a_finished_run_has_only_manifest_table_card_and_shards(finished: Any) -> None:
    names = {name.split("/")[0] for name in finished.tree("out")}
    assert names == {"manifest.json", "shards.arrow", "README.md", "train", "validation"}
    assert all(name.endswith((".arrow", "/")) for name in finished.tree("out") if "/" in name)
    assert verify(finished.folder / "out").ok


def test_running_again_changes_nothing(finished: Any) -> None:
    before = _times(finished.folder / "out")
    assert finished.run(finished.path, "out", holdout=0.2).digest == finished.manifest.digest
    assert finished.run(finished.path, "out", holdout=0.2, rehash=True, jobs=2).digest == finished.manifest.digest
    assert _times(finished.folder / "out") == before


def test_a_touched_input_of_the_same_content_is_the_same_input(finished: Any) -> None:
    os.utime(finished.path, (1, 1))
    before = _times(finished.folder / "out")
    finished.run(finished.path, "out", holdout=0.2)
    assert _times(finished.folder / "out") == before


def test_an_input_may_move_as_long_as_its_name_and_content_stay(finished: Any) -> None:
    (finished.folder / "elsewhere").mkdir()
    moved = finished.path.rename(finished.folder / "elsewhere" / finished.path.name)
    assert finished.run(moved, "out", holdout=0.2).digest == finished.manifest.digest


def test_a_changed_content_is_refused_and_named(finished: Any) -> None:
    data = finished.path.read_bytes()
    finished.path.write_bytes(data + b"more\n")
    with pytest.raises(
        MismatchError, match=rf"inputs: text.txt \({len(data):,} bytes\) there, .*{len(data) + 5:,} bytes"
    ):
        finished.run(finished.path, "out", holdout=0.2)
    finished.path.write_bytes(data[:-2] + b"!\n")
    with pytest.raises(MismatchError, match="the content of one changed"):
        finished.run(finished.path, "out", holdout=0.2)


def test_rehash_sees_a_change_that_kept_size_and_time(finished: Any) -> None:
    state = finished.path.stat()
    data = finished.path.read_bytes()
    finished.path.write_bytes(data[:-2] + b"!\n")
    os.utime(finished.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    finished.run(finished.path, "out", holdout=0.2)
    with pytest.raises(MismatchError, match="the content of one changed"):
        finished.run(finished.path, "out", holdout=0.2, rehash=True)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("seed", 8, "seed: 7 there, 8 here"),
        ("max_tokens", 32, "max_tokens: 64 there, 32 here"),
        ("mask_ratio", 0.2, "mask_ratio: 0.15 there, 0.2 here"),
        ("scheme", "token", "scheme: 'span' there, 'token' here"),
        ("holdout", 0.3, "holdout: 0.2 there, 0.3 here"),
        ("vocab", "uncased", "vocab: 'cased' there, 'uncased' here; vocabulary: its entries differ"),
        ("layout", "documents", "layout: 'sentences' there, 'documents' here"),
    ],
)
def test_another_configuration_is_refused_by_the_options_name(
    finished: Any, option: str, value: Any, told: str
) -> None:
    before = _times(finished.folder / "out")
    with pytest.raises(MismatchError) as caught:
        finished.run(finished.path, "out", **{"holdout": 0.2, option: value})
    assert told in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert _times(finished.folder / "out") == before


def test_overwrite_replaces_everything(finished: Any) -> None:
    finished.run(finished.path, "new", seed=8)
    finished.run(finished.path, "out", seed=8, overwrite=True)
    assert finished.tree("out") == finished.tree("new")


def test_overwrite_with_the_same_configuration_changes_nothing(finished: Any) -> None:
    before = _times(finished.folder / "out")
    finished.run(finished.path, "out", holdout=0.2, overwrite=True)
    assert _times(finished.folder / "out") == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount")
def test_running_again_on_a_read_only_dataset_changes_nothing(finished: Any) -> None:
    out = finished.folder / "out"
    options = ["--seed", "7", "--shard-bytes", "4096", "--max-tokens", "64", "--holdout", "0.2", "--jobs", "1"]
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        str(out),
        *finished.command,
        "preshard",
        str(finished.path),
        "--out",
        str(out),
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in result.stderr:
        pytest.skip(f"cannot mount here: {result.stderr.strip()}")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"nothing to do, complete already: {out}," in result.stdout
    assert "fingerprint" in result.stdout


# --- Unfinished runs


def _stop_early(lab: Any, path: Path, out: str, **options: Any) -> None:
    """Leave a run unfinished, as it would be when killed: a byte of the last document is damaged while it runs."""
    data, state = path.read_bytes(), path.stat()
    path.write_bytes(data[:-2] + b"\xff\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(CorpusError):
        lab.run(path, out, **options)
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterSequence(SequenceConfig):
    """The section of a later release.

    Attributes
    ----------
    novelty
        What this release does not know.
    """

    novelty: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterConfig(PreshardConfig):
    """The configuration of a later release, which has an option more."""

    sequence: LaterSequence = field(default_factory=LaterSequence)


def test_an_option_of_a_later_release_leaves_earlier_datasets_as_they_are(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.text()
    _stop_early(lab, path, "half", holdout=0.2)
    options = {"seed": 7, "shard_bytes": 4096, "max_tokens": 64, "holdout": 0.2}
    now = preshard(path, lab.folder / "out", PreshardConfig.of(**options), jobs=1)
    tree = lab.tree("out")
    vocabulary = load_vocabulary(VocabularyConfig())
    same, other = LaterConfig.of(**options), LaterConfig.of(**options, novelty=1)
    assert config_fingerprint(same, vocabulary) == now.config_fingerprint
    assert config_fingerprint(other, vocabulary) != now.config_fingerprint
    for module in (manifests, existing):
        monkeypatch.setattr(module, "PreshardConfig", LaterConfig)
    assert verify(lab.folder / "out").findings == ()
    assert read_manifest(lab.folder / "out").config == same
    assert preshard(path, lab.folder / "out", same, jobs=1).digest == now.digest
    assert lab.tree("out") == tree
    before = {path: path.stat().st_mtime_ns for path in (lab.folder / "half").rglob("*.arrow")}
    preshard(path, lab.folder / "half", same, jobs=1)
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the shards that were there are kept"
    for folder in ("out", "half"):
        with pytest.raises(MismatchError, match=r"configuration stands there .novelty: 0 there, 1 here.; choose"):
            preshard(path, lab.folder / folder, other, jobs=1)
    later = preshard(path, lab.folder / "later", other, jobs=1)
    assert later.content["config"]["sequence"]["novelty"] == 1
    assert verify(lab.folder / "later").findings == ()


def test_every_option_that_differs_is_in_the_fingerprint() -> None:
    vocabulary = load_vocabulary(VocabularyConfig())
    base: dict[str, Any] = {"seed": 7}
    changes = {
        "seed": 8,
        "sampler": "reference",
        "scheme": "token",
        "mask_ratio": 0.2,
        "geometric_p": 0.3,
        "max_words": 9,
        "replacement_unit": "word",
        "random_ids": "unigram",
        "mask_epoch": 1,
        "format": "text",
        "layout": "documents",
        "text_field": "body",
        "words_field": "words",
        "keep": ["id"],
        "on_error": "skip",
        "segmentation": "sentence",
        "max_tokens": 128,
        "min_tokens": 9,
        "holdout": 0.1,
        "shard_bytes": 4096,
    }
    found = [
        config_fingerprint(PreshardConfig.of(**base | {name: value}), vocabulary) for name, value in changes.items()
    ]
    assert len({*found, config_fingerprint(PreshardConfig.of(**base), vocabulary)}) == len(changes) + 1


def test_an_unfinished_run_of_another_configuration_is_refused_then_overwritten(lab: Any) -> None:
    path = lab.text()
    _stop_early(lab, path, "out", seed=8, holdout=0.3)
    assert any(name.startswith(".spanmask/receipts/0") for name in lab.tree("out"))
    with pytest.raises(
        MismatchError, match=r"an unfinished run .*seed: 8 there, 7 here; holdout: 0.3 there, 0.0 here\)"
    ):
        lab.run(path, "out")
    lab.run(path, "reference")
    lab.run(path, "out", overwrite=True)
    assert lab.tree("out") == lab.tree("reference")


def test_an_unfinished_overwrite_keeps_the_old_dataset_valid(lab: Any) -> None:
    path, other = lab.text("a.txt", 40), lab.text("b.txt", 120, seed=1)
    old = lab.run(path, "out")
    _stop_early(lab, other, "out", overwrite=True)
    assert verify(lab.folder / "out").findings == ()
    assert (lab.folder / "out" / "manifest.json").read_bytes() == old.to_bytes()
    with pytest.raises(MismatchError, match="an unfinished run"):
        lab.run(path, "out")
    lab.run(other, "new", seed=9)
    lab.run(other, "out", seed=9, overwrite=True)
    assert lab.tree("out") == lab.tree("new")


def test_an_unfinished_run_goes_on_and_does_no_unit_again(lab: Any) -> None:
    path = lab.text()
    lab.run(path, "reference")
    _stop_early(lab, path, "out")
    done = _times(lab.folder / "out" / "train")
    assert len(done) > 6
    lab.run(path, "out")
    assert lab.tree("out") == lab.tree("reference")
    assert {name: _times(lab.folder / "out" / "train")[name] for name in list(done)[1:]} == dict(list(done.items())[1:])


def test_units_whose_receipt_or_shard_is_damaged_are_done_again(lab: Any) -> None:
    path = lab.text()
    lab.run(path, "reference")
    _stop_early(lab, path, "out")
    out = lab.folder / "out"
    one, two, three, four, *_ = sorted((out / ".spanmask" / "receipts").glob("*.json"))
    one.write_bytes(one.read_bytes().replace(b'"in":', b'"in":1'))
    two.write_bytes(two.read_bytes()[:100])
    (out / "train" / f"shard-{three.stem}.arrow").unlink()
    (out / "train" / f"shard-{four.stem}.arrow").write_bytes(b"short")
    (out / "train" / ".tmp-0123-shard-99999-00000.arrow").write_bytes(b"what a killed writer left")
    lab.run(path, "out")
    assert lab.tree("out") == lab.tree("reference")


def test_a_run_goes_on_without_reading_what_nobody_wrote_since(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a shard with its size that was written since its receipt, the bytes tell, whoever wrote it and whatever time it then has."""
    _stop_early(lab, lab.text(), "out")
    state = RunState(lab.folder / "out")
    units = [receipt.unit for receipt in state.receipts(state.units(), str(state.plan_key))]
    touched, flipped, longer, replaced, *untouched = ((state.root / f"train/shard-{unit}.arrow") for unit in units)
    assert untouched
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    later = state.receipts_folder.joinpath(f"{units[1]}.json").stat().st_mtime_ns + 1
    flipped.write_bytes(data)
    os.utime(flipped, ns=(0, later))
    os.utime(touched, ns=(0, later + 10**12))
    with longer.open("ab") as file:
        file.write(b"\0")
    os.utime(longer, ns=(0, 0))
    replaced.unlink()
    replaced.mkdir()
    read: list[str] = []
    of_file = state_module.digest
    monkeypatch.setattr(state_module, "digest", lambda path: read.append(path.name) or of_file(path))
    there = [receipt.unit for receipt in state.receipts(state.units(), str(state.plan_key))]
    assert there == [units[0], *units[4:]]
    assert read == [touched.name, flipped.name]


@pytest.mark.parametrize("silent", ["receipts", "plan.json", "replacement"])
def test_a_file_system_that_does_not_answer_has_nothing_removed(
    silent: str, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is not taken for nothing: a network's file system may be gone for seconds."""
    path = lab.text()
    _stop_early(lab, path, "out")
    before = {name: data for name, data in lab.tree("out").items() if name != ".spanmask/lock"}

    def unanswering(call: Any) -> Any:
        def answer(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and os.path.basename(os.fspath(path)) == silent:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(path, *arguments, **options)

        return answer

    with monkeypatch.context() as patch:
        for name in ("stat", "scandir", "listdir"):
            patch.setattr(os, name, unanswering(getattr(os, name)))
        with pytest.raises(StorageError, match="Input/output error"):
            lab.run(path, "out", seed=8)
        with suppress(StorageError), locked(lab.folder / "out"):
            raise StorageError("what else a file system does that does not answer")
    assert {name: data for name, data in lab.tree("out").items() if name != ".spanmask/lock"} == before


def test_a_receipt_keeps_its_bytes_read_and_written_again(lab: Any) -> None:
    """So a run goes on from what an earlier release wrote."""
    _stop_early(lab, lab.text(), "out")
    state = RunState(lab.folder / "out")
    before = {path.name: path.read_bytes() for path in state.receipts_folder.iterdir()}
    receipts = list(state.receipts(state.units(), str(state.plan_key)))
    assert sorted(f"{receipt.unit}.json" for receipt in receipts) == sorted(before)
    parts = "conservation digest disk_bytes hashed plan sampling shards skipped source_bytes statistics supplied unit"
    for receipt in receipts:
        (state.receipts_folder / f"{receipt.unit}.json").unlink()
        state.save_receipt(receipt)
        assert sorted(json.loads(before[f"{receipt.unit}.json"])) == parts.split()
    assert {path.name: path.read_bytes() for path in state.receipts_folder.iterdir()} == before


def test_a_run_that_failed_before_it_began_leaves_an_empty_folder(lab: Any) -> None:
    bad = lab.folder / "bad.parquet"
    bad.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(CorpusError):
        lab.run(bad, "out")
    assert lab.tree("out") == {}
    lab.run(lab.text(), "out")


# --- Folders


def test_a_folder_with_other_files_is_refused(lab: Any) -> None:
    (lab.folder / "out").mkdir()
    (lab.folder / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="the folder is not empty"):
        lab.run(lab.text(), "out", overwrite=True)
    assert lab.tree("out") == {"mine.txt": b"mine"}


def test_a_file_where_the_folder_should_be_is_refused(lab: Any) -> None:
    path = lab.text()
    with pytest.raises(ConfigError, match="a file stands there"):
        lab.run(path, path.name, overwrite=True)


def test_an_input_inside_the_folder_is_refused(finished: Any) -> None:
    with pytest.raises(ConfigError, match="an input lies in --out"):
        finished.run(finished.folder, "out", format="text", overwrite=True)


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_jobs_are_refused(jobs: int, finished: Any) -> None:
    with pytest.raises(ConfigError, match=f"jobs is {jobs}"):
        finished.run(finished.path, "new", jobs=jobs)
    with pytest.raises(ConfigError, match=f"jobs is {jobs}"):
        verify_source(finished.folder / "out", jobs=jobs)


@pytest.mark.parametrize("name", ["train", "validation", ".spanmask"])
def test_a_link_in_the_folder_is_refused_and_what_it_leads_to_is_kept(finished: Any, name: str) -> None:
    place, mine = finished.folder / "out" / name, finished.folder / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(mine)
    with pytest.raises(ConfigError, match=rf"{name}: a link to {mine}, .* remove the link"):
        finished.run(finished.path, "out", overwrite=True)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_a_second_process_on_the_same_folder_is_refused(lab: Any) -> None:
    path = lab.text()
    (lab.folder / "out" / ".spanmask").mkdir(parents=True)
    with (lab.folder / "out" / ".spanmask" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MismatchError, match="another spanmask process is writing it"):
            lab.run(path, "out")
    lab.run(path, "out")
    assert verify(lab.folder / "out").ok


def test_a_run_that_locks_nothing_is_found(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: it writes beside another process."""
    plant(monkeypatch, folders, "fcntl.flock(descriptor, kind | fcntl.LOCK_NB)", "pass")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_second_process_on_the_same_folder_is_refused(lab)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("other", [[], ["--holdout", 0.3]], ids=["same", "another"])
def test_processes_racing_for_one_folder_leave_one_whole_dataset(
    lab: Any, other: list[Any], count: Callable[[int], None]
) -> None:
    """Of the same configuration, or of two."""
    path = lab.text(count=600)
    for number, options in enumerate(({}, {"holdout": 0.3})):
        lab.run(path, f"reference-{number}", **options)
    arguments = ["--seed", 7, "--shard-bytes", 4096, "--max-tokens", 64, "--jobs", 2]
    for number in range(figure(2, 15)):
        out = f"out-{number}"
        of_each = [[], other, []]
        started = [lab.start("preshard", path, "--out", lab.folder / out, *arguments, *more) for more in of_each]
        results = [(process.communicate()[1], process.returncode) for process in started]
        assert {code for _, code in results} <= {0, 2}
        assert 0 in {code for _, code in results}
        told = ("another spanmask process", "of another configuration stands there")
        assert all(any(words in error for words in told) for error, code in results if code == 2)
        assert lab.tree(out) in [lab.tree("reference-0"), *([lab.tree("reference-1")] if other else [])]
        count(1)


def test_an_input_that_changes_while_it_is_read_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from spanmask import StorageError
    from spanmask.presharding.progress import Progress

    path = lab.text()

    def touch(progress: Progress) -> None:
        os.utime(path)

    from spanmask import preshard

    with pytest.raises(StorageError, match="changed while it was read"):
        preshard(path, lab.folder / "out", lab.config(), jobs=1, on_progress=touch)
    assert not (lab.folder / "out" / "manifest.json").exists()


# --- Standard input


def _stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_is_spooled_and_leaves_nothing_behind(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lab.text("stdin.txt").read_bytes()
    lab.run(lab.folder / "stdin.txt", "reference")
    _stdin(monkeypatch, data)
    lab.run("-", "out")
    assert lab.tree("out") == lab.tree("reference")


def test_the_same_standard_input_again_changes_nothing(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lab.text().read_bytes()
    _stdin(monkeypatch, data)
    lab.run("-", "out")
    before = lab.tree("out"), _times(lab.folder / "out" / "train")
    _stdin(monkeypatch, data)
    lab.run("-", "out")
    assert (lab.tree("out"), _times(lab.folder / "out" / "train")) == before


def test_another_standard_input_of_the_same_size_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lab.text().read_bytes()
    _stdin(monkeypatch, data)
    lab.run("-", "out")
    before = lab.tree("out")
    _stdin(monkeypatch, data[:-2] + b"!\n")
    with pytest.raises(MismatchError, match="the content of one changed"):
        lab.run("-", "out")
    assert lab.tree("out") == before


def test_another_configuration_with_standard_input_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lab.text().read_bytes()
    _stdin(monkeypatch, data)
    lab.run("-", "out")
    before = lab.tree("out")
    _stdin(monkeypatch, data)
    with pytest.raises(MismatchError, match="seed: 7 there, 8 here"):
        lab.run("-", "out", seed=8)
    assert lab.tree("out") == before


def test_an_unfinished_run_goes_on_only_with_the_same_standard_input(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lab.text("stdin.txt").read_bytes()
    bad = data + b"\n\n\xff\n"
    _stdin(monkeypatch, bad)
    with pytest.raises(CorpusError):
        lab.run("-", "out")
    _stdin(monkeypatch, bad[:-3] + b"ok\n")
    with pytest.raises(MismatchError, match="an unfinished run"):
        lab.run("-", "out")
    _stdin(monkeypatch, data)
    lab.run("-", "out", overwrite=True)
    lab.run(lab.folder / "stdin.txt", "reference")
    assert lab.tree("out") == lab.tree("reference")
