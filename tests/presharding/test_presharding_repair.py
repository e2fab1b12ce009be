"""`repair` makes again what `verify` refuses, byte for byte, from no more of the inputs than it came from; else it touches nothing."""

from __future__ import annotations

import bz2
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory import with_peak
from object_store import ObjectStore

from spanmask import preshard, remote, verify
from spanmask.errors import ConfigError, MismatchError
from spanmask.presharding import plan, repairing, replanning
from spanmask.presharding.repairing import repair
from spanmask.presharding.units import Pipeline

from .conftest import Lab, Tree

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def made(make_lab: Callable[[str], Lab]) -> tuple[Lab, Tree]:
    """A dataset of a text in several tasks, and of a compressed one that is streamed in blocks."""
    lab = make_lab("repair")
    (lab.folder / "b.txt.bz2").write_bytes(bz2.compress(lab.text("b.txt", 120, seed=1).read_bytes()))
    (lab.folder / "b.txt").unlink()
    lab.run([lab.text("a.txt"), lab.folder / "b.txt.bz2"], "out", holdout=0.2)
    return lab, lab.tree("out")


@pytest.fixture
def copy(made: tuple[Lab, Tree], tmp_path: Path) -> Path:
    shutil.copytree(made[0].folder / "out", tmp_path / "out")
    return tmp_path / "out"


def _tree(folder: Path) -> Tree:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _other_rows(path: Path) -> None:
    path.write_bytes(next(other for other in sorted(path.parent.iterdir()) if other != path).read_bytes())


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "flipped": _flip,
    "cut": lambda path: os.truncate(path, 700),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "of other rows": _other_rows,
    "a link": _link,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_made_again_byte_for_byte(made: tuple[Lab, Tree], copy: Path, damage: str) -> None:
    (path,) = copy.glob("train/shard-00001-*.arrow")
    DAMAGE[damage](path)
    done = repair(copy, jobs=1)
    assert (done.remade, done.refused, done.findings) == ((f"train/{path.name}",), (), ())
    (copy / "elsewhere").unlink(missing_ok=True)
    assert _tree(copy) == {name: data for name, data in made[1].items() if not name.endswith("/")}
    assert not path.is_symlink()


def test_only_the_work_that_damaged_shards_came_from_is_done_again(
    made: tuple[Lab, Tree], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = max(path.name for path in copy.glob("*/*.arrow")).split("-")[1]
    damaged = [
        f"train/shard-{streamed}-00002.arrow",
        "train/shard-00000-00000.arrow",
        "validation/shard-00000-00000.arrow",
    ]
    for name in damaged:
        _flip(copy / name)
    run, done = Pipeline.run, []

    def noted(self: Pipeline, unit: Any, report: Any) -> Any:
        done.append(unit.name)
        return run(self, unit, report)

    monkeypatch.setattr(Pipeline, "run", noted)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.arrow")}
    assert sorted(repair(copy, jobs=1).remade) == sorted(damaged)
    assert done == ["00000-00000", f"{streamed}-00002"]
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.relative_to(copy).as_posix() for path in changed} == set(damaged)


def test_all_shards_of_a_dataset_are_made_again_by_several_processes(made: tuple[Lab, Tree], copy: Path) -> None:
    for split in ("train", "validation"):
        shutil.rmtree(copy / split)
    assert repair(copy, [made[0].folder / "a.txt", made[0].folder / "b.txt.bz2"], jobs=2).findings == ()
    assert _tree(copy) == {name: data for name, data in made[1].items() if not name.endswith("/")}


def test_a_whole_dataset_is_not_touched(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    done = repair(copy)
    assert (done.remade, done.findings) == ((), ())
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_stray_files_are_told_and_left(copy: Path) -> None:
    (copy / "train" / "extra").write_bytes(b"x")
    assert [one.path for one in repair(copy).findings] == ["train/extra"]
    assert (copy / "train" / "extra").exists()


@pytest.mark.parametrize("same_rows", [True, False], ids=["of another pyarrow", "of another tokenizer"])
def test_a_shard_that_would_have_other_bytes_is_refused_by_name_and_left(
    copy: Path, monkeypatch: pytest.MonkeyPatch, same_rows: bool
) -> None:
    from dataclasses import replace as changed

    run = Pipeline.run

    def other(self: Pipeline, unit: Any, report: Any) -> Any:
        receipt = run(self, unit, report)
        content = {} if same_rows else {"content_sha256": "1" * 64}
        shards = {
            name: tuple(changed(one, sha256="0" * 64, **content) for one in of) for name, of in receipt.shards.items()
        }
        return changed(receipt, shards=shards)

    monkeypatch.setattr(Pipeline, "run", other)
    damaged = copy / "train" / "shard-00001-00000.arrow"
    _flip(damaged)
    before = _tree(copy)
    done = repair(copy, jobs=1)
    assert (done.remade, [one.path for one in done.refused]) == ((), ["train/shard-00001-00000.arrow"])
    assert ("another pyarrow" in done.refused[0].message) == same_rows
    assert [one.path for one in done.findings] == ["train/shard-00001-00000.arrow"]
    assert _tree(copy) == before


def test_changed_inputs_are_refused_and_nothing_is_touched(made: tuple[Lab, Tree], copy: Path, tmp_path: Path) -> None:
    _flip(copy / "train" / "shard-00001-00000.arrow")
    before = _tree(copy)
    a, b = (shutil.copy(made[0].folder / name, tmp_path) for name in ("a.txt", "b.txt.bz2"))
    whole = Path(a).read_bytes()
    # A letter, a size, an order, a file that is not read for this shard: that one alone is no matter.
    for data in (whole.replace(b"cats", b"cots"), whole + b"x"):
        Path(a).write_bytes(data)
        with pytest.raises(
            MismatchError, match=r"a\.txt: its content is not what the dataset was made from.*nothing was touched"
        ):
            repair(copy, [a, b])
    Path(a).write_bytes(whole)
    with pytest.raises(MismatchError, match="the inputs given are not its own"):
        repair(copy, [b, a])
    with pytest.raises(ConfigError, match="nowhere"):
        repair(copy, [tmp_path / "nowhere"])
    assert _tree(copy) == before
    Path(b).write_bytes(Path(b).read_bytes()[:-1] + b"x")
    assert repair(copy, [a, b], jobs=1).findings == ()


def test_no_input_is_read_whole_for_a_shard_of_a_part_of_it(
    made: tuple[Lab, Tree], copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have ten terabytes. Whether it is the right one the shard tells; only what does not come out as it was is explained."""
    a, b = (shutil.copy(made[0].folder / name, tmp_path) for name in ("a.txt", "b.txt.bz2"))
    # Elsewhere in the text.
    Path(a).write_bytes(Path(a).read_bytes()[:-3] + b"???")
    digest, read = replanning.input_digest, list[str]()
    monkeypatch.setattr(replanning, "input_digest", lambda file, *rest: read.append(file.path) or digest(file, *rest))
    _flip(copy / "train" / "shard-00001-00000.arrow")
    assert repair(copy, [a, b], jobs=1).findings == ()
    assert read == []
    _flip(copy / "train" / "shard-00001-00000.arrow")
    last = sorted(copy.glob("train/*-00000.arrow"))[-2].name
    _flip(copy / "train" / last)
    with pytest.raises(MismatchError, match=r"a\.txt: its content is not what.*but shards that came out as they were"):
        repair(copy, [a, b], jobs=1)
    assert read == [a]
    assert [one.path for one in verify(copy).findings] == [f"train/{last}"]


def test_an_input_that_cannot_be_read_any_more_is_told_as_changed(
    made: tuple[Lab, Tree], copy: Path, tmp_path: Path
) -> None:
    a, b = (shutil.copy(made[0].folder / name, tmp_path) for name in ("a.txt", "b.txt.bz2"))
    Path(a).write_bytes(b"\xff" * os.path.getsize(a))
    _flip(copy / "train" / "shard-00001-00000.arrow")
    with pytest.raises(MismatchError, match=r"a\.txt: its content is not what the dataset was made from"):
        repair(copy, [a, b], jobs=1)


@pytest.mark.parametrize("name", ["manifest.json", "shards.arrow"])
def test_what_says_what_the_shards_are_cannot_be_made_again_of_damaged_ones(copy: Path, name: str) -> None:
    _flip(copy / name)
    _flip(copy / "train" / "shard-00001-00000.arrow")
    before = _tree(copy)
    (finding,) = repair(copy).findings
    assert finding.path == name
    assert "restore it, or preshard the inputs again, with --overwrite" in finding.message
    assert _tree(copy) == before


@pytest.mark.parametrize("damage", ["missing", "flipped", "cut", "empty"])
def test_the_table_of_whole_shards_is_made_again(made: tuple[Lab, Tree], copy: Path, damage: str) -> None:
    DAMAGE[damage](copy / "shards.arrow")
    done = repair(copy, jobs=1)
    assert (done.remade, done.findings) == (("shards.arrow",), ())
    assert _tree(copy) == {name: data for name, data in made[1].items() if not name.endswith("/")}


def _rewritten(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[Path], None]:
    """Return what writes other rows over a shard's."""

    def write(path: Path) -> None:
        with pa.ipc.open_file(path.read_bytes()) as reader:
            table = change(reader.read_all())
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)

    return write


def _column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    """Return what replaces a column of a table's first rows."""

    def replaced(table: pa.Table) -> pa.Table:
        place, rows = table.schema.get_field_index(name), table.slice(0, len(values))
        return rows.set_column(place, pa.field(name, values.type, nullable=False), values)

    return replaced


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _looping(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _bomb(path: Path) -> None:
    """Put a list that unpacks to 100 MB in a few kilobytes."""
    item = pa.field("item", pa.uint16(), nullable=False)
    _rewritten(_column("input_ids", pa.array([np.zeros(50_000_000, np.uint16)], pa.list_(item))), compression="zstd")(
        path
    )
    assert path.stat().st_size < 100_000


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a pipe": _fifo,
    "a link": _link,
    "a link to zeros without end": _looping,
    "a folder": _folder,
    "a bomb": _bomb,
    "without metadata": _rewritten(lambda table: table.replace_schema_metadata(None)),
    "without a column": _rewritten(lambda table: table.drop_columns(["segment"])),
    "without rows": _rewritten(lambda table: table.slice(0, 0)),
    "of another type": _rewritten(_column("document_id", pa.array(["x"]))),
    "of nulls": _rewritten(_column("document_id", pa.array([None], pa.uint64()))),
    "of dictionaries": _rewritten(_column("document_id", pa.array(["x"]).dictionary_encode())),
    "cut in the footer": lambda path: path.write_bytes(path.read_bytes()[:-60] + path.read_bytes()[-10:]),
    "of a footer that points out of it": lambda path: path.write_bytes(
        b"ARROW1" + bytes([255] * 40) + b"\x20\0\0\0ARROW1"
    ),
    "of offsets out of their buffer": lambda path: path.write_bytes(_far_offsets(path.read_bytes())),
}


def _far_offsets(data: bytes) -> bytes:
    """Return a shard whose first list ends far outside."""
    with pa.ipc.open_file(data) as reader:
        offsets = reader.get_batch(0)["input_ids"].offsets.to_numpy()
    found = data.index(offsets.tobytes())
    return (
        data[:found]
        + bytes(4)
        + np.full(len(offsets) - 1, (1 << 31) - 1, np.int32).tobytes()
        + data[found + 4 * len(offsets) :]
    )


@pytest.mark.parametrize("damage", HOSTILE)
def test_hostile_shards_beside_a_damaged_table_are_refused_in_little_memory(copy: Path, damage: str) -> None:
    _flip(copy / "shards.arrow")
    HOSTILE[damage](copy / "train" / "shard-00001-00000.arrow")
    told, peak = with_peak(lambda: repair(copy).findings)
    assert [one.path for one in told] == ["shards.arrow"]
    assert peak < 32 << 20


def test_no_shard_is_written_behind_a_link(copy: Path, tmp_path: Path) -> None:
    (copy / "train").rename(tmp_path / "mine")
    (copy / "train").symlink_to(tmp_path / "mine")
    _flip(tmp_path / "mine" / "shard-00001-00000.arrow")
    before = _tree(tmp_path / "mine")
    with pytest.raises(ConfigError, match="remove the link"):
        repair(copy)
    assert _tree(tmp_path / "mine") == before


def test_a_repair_beside_a_run_that_replaces_the_dataset_is_refused(copy: Path) -> None:
    _flip(copy / "train" / "shard-00001-00000.arrow")
    (copy / ".spanmask").mkdir()
    (copy / ".spanmask" / "plan.json").write_text(json.dumps({}))
    with pytest.raises(MismatchError, match="a run that replaces it is under way"):
        repair(copy)


def _found(monkeypatch: pytest.MonkeyPatch, replace: Callable[[], object]) -> None:
    """Have a dataset replaced while it is looked for what is damaged."""
    find = repairing._damaged

    def finding(*arguments: Any) -> Any:
        found = find(*arguments)
        replace()
        return found

    monkeypatch.setattr(repairing, "_damaged", finding)


@pytest.mark.parametrize("way", ["overwritten", "removed", "begun"])
def test_nothing_is_put_into_a_dataset_that_replaced_the_damaged_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    text, out = lab.text(), lab.folder / "out"
    lab.run(text, "out")
    _flip(out / "train" / "shard-00001-00000.arrow")

    def replace() -> None:
        if way == "overwritten":
            lab.run(text, "out", seed=8, overwrite=True)
        else:
            shutil.rmtree(out)
            out.mkdir()
        if way == "begun":
            plan(text, out, lab.config(seed=8))
        trees.append(lab.tree("out"))

    trees = list[Tree]()
    _found(monkeypatch, replace)
    with pytest.raises(MismatchError, match=r"was replaced while it was looked at|a run that replaces it is under way"):
        repair(out, [text], jobs=1)
    assert [lab.tree("out")] == trees


def test_a_kill_while_shards_take_their_places_leaves_none_half_made(
    made: tuple[Lab, Tree], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = sorted(copy.glob("train/*.arrow"))[:3]
    for path in damaged:
        path.unlink()
    real = repairing.sync_folder
    monkeypatch.setattr(repairing, "sync_folder", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        repair(copy, jobs=1)
    assert [path.exists() for path in damaged] == [True, False, False]
    monkeypatch.setattr(repairing, "sync_folder", real)
    assert len(repair(copy, jobs=1).remade) == 2
    assert _tree(copy) == {name: data for name, data in made[1].items() if not name.endswith("/")}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["overwritten", "removed"])
def test_no_object_is_put_into_a_dataset_that_replaced_the_damaged_one(
    lab: Lab, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    url, path = object_store.url("data/set"), lab.text()
    preshard(path, url, lab.config(), jobs=1)
    object_store.put("data/set/train/shard-00001-00000.arrow", b"")
    make, trees = repairing.run_local, list[Any]()

    def replaced(*arguments: Any) -> Any:
        for outcome in make(*arguments):
            if not trees:
                remote.delete(entry.url for entry in remote.listing(url))
                if way == "overwritten":
                    preshard(path, url, lab.config(seed=8), jobs=1)
                trees.append(object_store.tree("data/set"))
            yield outcome

    monkeypatch.setattr(repairing, "run_local", replaced)
    with pytest.raises(MismatchError, match="was replaced while it was looked at"):
        repair(url, [path], jobs=1)
    assert object_store.tree("data/set") == trees[0]


def test_objects_are_made_again_too(lab: Lab, object_store: ObjectStore) -> None:
    url, path = object_store.url("data/set"), lab.text()
    preshard(path, url, lab.config(), jobs=1)
    whole = object_store.tree("data/set")
    names = sorted(name for name in whole if name.endswith("-00000.arrow"))[1:4]
    object_store.put(f"data/set/{names[0]}", whole[names[0]][:-8] + b"12345678")
    object_store.put(f"data/set/{names[1]}", whole[names[1]][:-1])
    remote.delete([f"{url}/{names[2]}"])
    done = repair(url, jobs=1)
    assert (sorted(done.remade), done.refused, done.findings) == (names, (), ())
    assert object_store.tree("data/set") == whole
    assert repair(url).remade == ()
