"""A run to an object store: the bytes of a local one, whole objects only, and nothing outside the prefix, whatever stumbles on the way."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from figures import figure
from object_store import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, ObjectStore

from spanmask import ConfigError, CorpusError, MismatchError, StorageError, drivers, preshard, remote
from spanmask.presharding import plan, read_plan, run_unit
from spanmask.presharding.remote_state import RemoteState
from spanmask.shard.manifest import read_manifest

pytestmark = pytest.mark.faults

OPTIONS = {"holdout": 0.2}
PREFIX = "data/set"


@pytest.fixture(scope="module")
def local(make_lab: Any) -> Any:
    lab = make_lab("local")
    lab.inputs = [lab.text(count=60), lab.text("second.txt", count=30, seed=1)]
    lab.run(lab.inputs, "out", **OPTIONS)
    lab.wanted = {name: data for name, data in lab.tree("out").items() if not name.endswith("/")}
    assert len(lab.wanted) > 8
    return lab


def _run(local: Any, store: ObjectStore, **options: Any) -> Any:
    config = local.config(**{**OPTIONS, **options.pop("config", {})})
    return preshard(local.inputs, store.url(PREFIX), config, **{"jobs": 1, **options})


def _shards(store: ObjectStore) -> list[str]:
    return [one.key for one in store.requests("PUT", r"\.arrow") if "/shard-" in one.key]


def test_the_objects_are_the_files_of_a_local_run_and_nothing_else_is_asked_for(
    local: Any, object_store: ObjectStore
) -> None:
    for key in ("data/set2/x", "data/other", "x"):
        object_store.put(key, b"another's")
        object_store.begin_upload(key)
    object_store.begin_upload(f"{PREFIX}/train/shard-00000-00000.arrow")
    _run(local, object_store)
    assert object_store.tree(PREFIX) == local.wanted
    # The server says of all uploads that they are years old.
    assert sorted(object_store.uploads()) == ["data/other", "data/set2/x", "x"]
    # Each shard by one request, the manifest last of what stays, and only where nothing had its name.
    puts = [one.key.removeprefix(f"{PREFIX}/") for one in object_store.requests("PUT")]
    kept = [name for name in puts if not name.startswith(".spanmask")]
    assert sorted(kept) == sorted(local.wanted)
    assert kept[-1] == "manifest.json"
    assert [
        one.key
        for one in object_store.requests("PUT")
        if {name.lower(): value for name, value in one.headers.items()}.get("if-none-match") == "*"
    ] == [f"{PREFIX}/.spanmask/plan.json", f"{PREFIX}/manifest.json"]
    for one in object_store.log:
        assert one.key.startswith(f"{PREFIX}/") or f"prefix={PREFIX}/" in one.key or one.key == "?delete", one


def test_tasks_of_one_process_read_the_plan_once(local: Any, object_store: ObjectStore) -> None:
    """Of 300,000 inputs it has 30 MB, and each of a worker's tasks looks whether it is still the same."""
    made = plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS))
    object_store.log.clear()
    for number in range(4):
        run_unit(made, number)
    assert len(object_store.requests("GET", "plan.json$")) == 1
    theirs = object_store.tree(PREFIX)[".spanmask/plan.json"].replace(b'"seed":7', b'"seed":8')
    object_store.put(f"{PREFIX}/.spanmask/plan.json", theirs)
    with pytest.raises(MismatchError, match="another run was begun there"):
        run_unit(made, 4)


@pytest.mark.slow
def test_a_run_that_a_store_ended_goes_on_and_does_nothing_twice(local: Any, object_store: ObjectStore) -> None:
    with object_store.failing("status", None, method="PUT", key="shard-00002") as fault, pytest.raises(StorageError):
        _run(local, object_store)
    assert fault.times is None
    half = object_store.tree(PREFIX)
    assert {name for name in half if not name.startswith(".spanmask")} < set(local.wanted)
    assert all(data == local.wanted[name] for name, data in half.items() if not name.startswith(".spanmask"))
    object_store.log.clear()
    _run(local, object_store)
    assert object_store.tree(PREFIX) == local.wanted
    assert not {f"{PREFIX}/{name}" for name in half if "/shard-" in name} & set(_shards(object_store))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["receipts/00001-00000.json", "train/shard-00001-00000.arrow"])
def test_what_is_gone_from_the_store_is_made_again(local: Any, object_store: ObjectStore, lost: str) -> None:
    with object_store.failing("status", None, method="PUT", key="shard-00003"), pytest.raises(StorageError):
        _run(local, object_store)
    (key,) = (key for key in object_store.keys(PREFIX) if key.endswith(lost))
    object_store.delete(key)
    _run(local, object_store)
    assert object_store.tree(PREFIX) == local.wanted


_FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500, "code": "InternalError"},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "lost"},
    {"kind": "cut", "method": "GET|POST"},
    {"kind": "cut_request", "method": "PUT"},
    {"kind": "flip_request", "method": "PUT"},
    {"kind": "slow", "seconds": 0.05},
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_store_that_stumbles_at_random_changes_no_byte(local: Any, object_store: ObjectStore, seed: int) -> None:
    draw = random.Random(seed)
    # A fault for every request in three, of which none meets five in a row.
    unlucky = {number for number in range(400) if draw.random() < 0.3 and number % 4}
    calls = iter(range(1 << 30))
    plain = object_store.faults

    class Chance(list[Any]):
        def __iter__(self) -> Any:
            return iter(plain) if next(calls) not in unlucky else iter([object_store.fault(**draw.choice(_FAULTS))])

    object_store.faults = Chance()
    _run(local, object_store)
    object_store.faults = plain
    assert object_store.tree(PREFIX) == local.wanted


def test_no_object_is_ever_there_in_part(local: Any, object_store: ObjectStore) -> None:
    seen: list[dict[str, bytes]] = []
    object_store.fail(
        "cut_request", None, method="PUT", key="shard-0000[13]", then=lambda: seen.append(_final(object_store))
    )
    with pytest.raises(StorageError, match=r"shard-00001-00000.arrow: could not write \(.* 5 times\)"):
        _run(local, object_store)
    assert len(seen) >= 5
    for tree in (*seen, _final(object_store)):
        assert tree.items() <= local.wanted.items()


def _final(store: ObjectStore) -> dict[str, bytes]:
    return {name: data for name, data in store.tree(PREFIX).items() if not name.startswith(".spanmask")}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["plan.json", "shard-00001", "receipts/00002", "README.md", "manifest.json"])
def test_a_run_that_another_of_the_same_plan_overtakes_ends_well(
    local: Any, object_store: ObjectStore, key: str
) -> None:
    ended: list[Any] = []

    def overtake() -> None:
        fault.key = "nothing"
        ended.append(_run(local, object_store))

    fault = object_store.fail("call", method="PUT", key=key, then=overtake)
    assert _run(local, object_store).digest == ended[0].digest
    assert object_store.tree(PREFIX) == local.wanted


@pytest.mark.slow
def test_another_configuration_is_refused_and_nothing_is_replaced(local: Any, object_store: ObjectStore) -> None:
    with object_store.failing("status", None, method="PUT", key="shard-00002"), pytest.raises(StorageError):
        _run(local, object_store)
    before = object_store.tree(PREFIX)
    for overwrite in (False, True):
        with pytest.raises(
            MismatchError, match=r"an unfinished run .*seed: 7 there, 8 here.*remove all below it first"
        ):
            _run(local, object_store, config={"seed": 8}, overwrite=overwrite)
    assert object_store.tree(PREFIX) == before
    digest = _run(local, object_store).digest
    object_store.log.clear()
    assert _run(local, object_store).digest == digest
    for overwrite in (False, True):
        with pytest.raises(
            MismatchError, match=r"a finished dataset .*seed: 7 there, 8 here.*remove all below it first"
        ):
            _run(local, object_store, config={"seed": 8}, overwrite=overwrite)
    assert object_store.requests("PUT|DELETE") == []
    assert object_store.tree(PREFIX) == local.wanted


def test_two_plans_at_once_one_of_them_is_refused(local: Any, object_store: ObjectStore) -> None:
    object_store.fail("call", method="PUT", key="plan.json", then=lambda: _begin(local, object_store))
    with pytest.raises(MismatchError, match="a run of another configuration began there"):
        _run(local, object_store)
    assert read_plan(object_store.url(PREFIX)).config.masking.seed == 8


def _begin(local: Any, store: ObjectStore) -> None:
    store.faults.clear()
    plan(local.inputs, store.url(PREFIX), local.config(**OPTIONS, seed=8))


@pytest.mark.slow
def test_tasks_of_a_plan_run_anywhere_and_a_run_ends_them(local: Any, object_store: ObjectStore) -> None:
    made = plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS))
    for number in (3, 1, 1, 0):
        assert run_unit(read_plan(object_store.url(PREFIX)), number).shards
    assert plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS)).tasks == made.tasks
    object_store.log.clear()
    _run(local, object_store)
    assert not any("shard-00001" in key for key in _shards(object_store))
    assert object_store.tree(PREFIX) == local.wanted
    with pytest.raises(MismatchError, match="no run is under way"):
        run_unit(made, 0)


def test_an_upload_that_may_go_on_is_left_alone(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{PREFIX}/train/shard-00000-00000.arrow"
    object_store.begin_upload(key)
    with monkeypatch.context() as patch:
        patch.setattr("spanmask.presharding.remote_state._GIVEN_UP", time.time())
        _run(local, object_store)
        assert object_store.uploads() == [key]
    # What begins, or comes to nothing, abandons none, however old.
    monkeypatch.setitem(globals(), "PREFIX", "data/other")
    object_store.begin_upload(f"{PREFIX}/x")
    plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS))
    with pytest.raises(MismatchError):
        _run(local, object_store, config={"seed": 8})
    assert sorted(object_store.uploads()) == [f"{PREFIX}/x", key]


def test_what_comes_to_nothing_leaves_nothing(lab: Any, object_store: ObjectStore) -> None:
    path = lab.folder / "empty.txt"
    path.write_text("\n\n")
    with pytest.raises(CorpusError, match="every input is empty"):
        preshard(path, object_store.url(PREFIX), lab.config(), jobs=1)
    assert object_store.keys() == []


@pytest.mark.slow
def test_a_call_that_fails_takes_back_its_own_plan_and_nobody_elses(
    local: Any, lab: Any, object_store: ObjectStore
) -> None:
    def fails(inputs: Any = local.inputs, **fault: Any) -> None:
        object_store.faults[:] = [object_store.fault("status", None, status=403, code="AccessDenied", **fault)]
        with pytest.raises((ConfigError, CorpusError, MismatchError, StorageError)):
            preshard(inputs, object_store.url(PREFIX), local.config(**OPTIONS), jobs=1)
        object_store.faults.clear()

    fails(method="PUT", key="shard-00000")
    damaged = lab.folder / "damaged.txt"
    damaged.write_bytes(b"a word \xff\n")
    fails(damaged, key="nothing")
    assert object_store.keys() == []
    fails(method="PUT", key="receipts/00000")
    # A later run goes on with that.
    assert ".spanmask/plan.json" in object_store.tree(PREFIX)
    for key in object_store.keys(PREFIX):
        object_store.delete(key)
    plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS))
    object_store.put(f"{PREFIX}/train/shard-00009-00000.arrow", b"of a unit without a receipt yet")
    before = object_store.tree(PREFIX)
    for alone in (False, True):
        fails(lab.folder / "mistyped.txt", key="nothing")
        fails(damaged, key="nothing")
        fails(method="PUT", key="shard-00000")
        assert object_store.tree(PREFIX) == before
        object_store.delete(f"{PREFIX}/train/shard-00009-00000.arrow")
        before = {name: data for name, data in before.items() if name.startswith(".spanmask")}
        assert alone or object_store.tree(PREFIX) == before


def test_what_another_begins_meanwhile_is_not_removed(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = RemoteState.saved_plan

    def overtaken(state: RemoteState) -> Any:
        found = saved(state)
        if found is None:
            monkeypatch.setattr(RemoteState, "saved_plan", saved)
            run_unit(plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS, seed=8)), 0)
            before.update(object_store.tree(PREFIX))
        return found

    before: dict[str, bytes] = {}
    monkeypatch.setattr(RemoteState, "saved_plan", overtaken)
    with pytest.raises(MismatchError, match="a run of another configuration began there"):
        _run(local, object_store)
    assert len(before) > 2
    assert object_store.tree(PREFIX) == before


def test_places_that_cannot_be_written_are_refused(local: Any, object_store: ObjectStore) -> None:
    def refused(out: str, inputs: Any = None) -> Callable[[], Any]:
        return lambda: preshard(inputs or local.inputs, out, local.config(**OPTIONS), jobs=1)

    object_store.put(f"{PREFIX}/else", b"another's")
    for ask, told in (
        (refused(object_store.url(PREFIX)), "objects lie below it, and no spanmask run began there"),
        (refused("s3://no-such-bucket-of-ours/x"), "no such object or bucket; check the URL"),
        (refused("s3://key:secret@bucket/x"), "the URL holds a password"),
        (refused("gs://bucket/x"), "pip install gcsfs"),
        (refused("memory://bucket/x"), "gone with this process"),
        (refused("hf://datasets/a/b"), "each object would be a commit of its own"),
        (refused("http://host/x"), "a URL, and"),
        (refused(object_store.url("new"), "-"), "standard input is kept in the folder of --out"),
    ):
        with pytest.raises(ConfigError, match=told) as caught:
            ask()
        assert "secret" not in str(caught.value)
    assert object_store.keys() == [f"{PREFIX}/else"]


@pytest.mark.slow
def test_expired_credentials_are_told_at_once(local: Any, object_store: ObjectStore) -> None:
    object_store.fail("status", None, method="PUT", key="shard-00001", status=400, code="ExpiredToken")
    with pytest.raises(StorageError, match=r"shard-00001-00000.arrow: .*the credentials have expired: renew them"):
        _run(local, object_store)
    assert len(object_store.requests("PUT", "shard-00001")) == 1
    object_store.faults.clear()
    _run(local, object_store)
    assert object_store.tree(PREFIX) == local.wanted


@pytest.mark.slow
def test_no_credential_is_written_or_told(local: Any, object_store: ObjectStore) -> None:
    written = bytearray()
    object_store.fail("call", None, then=lambda: written.extend(b"".join(object_store.tree(PREFIX).values())))
    code, out, error = local.finish(
        "preshard", *local.inputs, "--out", object_store.url(PREFIX), "--seed", 7, "--jobs", 2
    )
    assert (code, object_store.url(PREFIX) in out) == (0, True)
    object_store.faults.clear()
    object_store.fail("status", None, status=403, code="AccessDenied")
    told = [local.finish("preshard", *local.inputs, "--out", object_store.url("x"), "--seed", 7, "--jobs", 2)]
    assert told[0][0] == 4
    assert "check the credentials" in told[0][2]
    assert b'"seed":7' in written
    for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN):
        assert secret.encode() not in written
        assert secret not in f"{out}{error}{told}"


@pytest.mark.slow
@pytest.mark.parametrize("jobs", figure([1, 2], [1, 2, 1, 2, 1]))
def test_the_process_is_gone_soon_after_the_last_request(local: Any, object_store: ObjectStore, jobs: int) -> None:
    ended: list[float] = []
    object_store.fail("call", None, then=lambda: ended.append(time.monotonic()))
    command = ("preshard", *local.inputs, "--out", object_store.url(PREFIX), "--seed", 7, "--jobs", jobs)
    code, _, error = local.finish(*command, "--holdout", 0.2, "--shard-bytes", 4096, "--max-tokens", 64)
    gone = time.monotonic() - ended[-1]
    assert (code, object_store.tree(PREFIX)) == (0, local.wanted), error
    assert gone < 5


@pytest.mark.slow
@pytest.mark.parametrize("number", [0])
def test_a_killed_command_goes_on(local: Any, object_store: ObjectStore, number: int) -> None:
    command = ["preshard", *local.inputs, "--out", object_store.url(PREFIX), "--seed", 7, "--jobs", 2, "--holdout", 0.2]
    command += ["--shard-bytes", 4096, "--max-tokens", 64]
    draw = random.Random(number)
    for _ in range(2):
        key = draw.choice(["plan.json", r"shard-0000\d", r"receipts/0000\d", "README.md", "manifest.json"])
        process = local.start(*command)
        with object_store.failing(
            "reset", None, method="PUT", key=key, then=lambda p=process: p.send_signal(signal.SIGKILL)
        ):
            process.communicate()
        assert _final(object_store).items() <= local.wanted.items()
    code, _, error = local.finish(*command)
    assert (code, object_store.tree(PREFIX)) == (0, local.wanted), error


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["run", "task"])
def test_another_pyarrow_does_not_write_beside(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    made = plan(local.inputs, object_store.url(PREFIX), local.config(**OPTIONS))
    run_unit(made, 0)
    monkeypatch.setattr("pyarrow.__version__", "99.0")
    with pytest.raises(MismatchError, match=r"a run under pyarrow \S+ is under way there, and here is 99.0"):
        run_unit(made, 1) if begun == "task" else _run(local, object_store)
    monkeypatch.undo()


# Of each defence: what it keeps off is seen here once it is taken out.
@pytest.mark.slow
def test_without_more_tries_a_stumble_ends_the_run(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TRIES", 1)
    object_store.fail("status", 1, method="PUT", key="shard-00001")
    with pytest.raises(StorageError, match="could not write"):
        _run(local, object_store)


@pytest.mark.slow
def test_without_conditional_puts_two_plans_both_go_on(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers._S3, "put_new", drivers._S3.put)
    object_store.fail("call", method="PUT", key="plan.json", then=lambda: _begin(local, object_store))
    _run(local, object_store)
    assert read_manifest(object_store.url(PREFIX)).config.masking.seed == 7


@pytest.mark.slow
def test_without_one_put_a_shard_a_half_is_seen(
    local: Any, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = drivers._S3.put

    def in_halves(self: Any, path: str, data: bytes) -> None:
        put(self, path, data[: len(data) // 2])
        put(self, path, data)

    monkeypatch.setattr(drivers._S3, "put", in_halves)
    seen: list[dict[str, bytes]] = []
    object_store.fail("call", None, method="PUT", key="shard-0000[13]", then=lambda: seen.append(_final(object_store)))
    _run(local, object_store)
    assert not all(tree.items() <= local.wanted.items() for tree in seen)


_STEPS = [
    "plan.json",
    "shard-00001",
    "receipts/00001",
    "README.md",
    "shards.arrow",
    "manifest.json",
    "list-type",
    "delete",
]


@pytest.mark.slow
@pytest.mark.parametrize("step", _STEPS)
def test_every_fault_at_every_step_is_lived_through_or_told(
    local: Any,
    object_store: ObjectStore,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    count: Callable[[int], None],
) -> None:
    prefix = "data/{}"
    for number, fault in enumerate(
        fault for fault in _FAULTS if fault.get("status") != 503 and fault["kind"] != "slow"
    ):
        monkeypatch.setitem(globals(), "PREFIX", prefix.format(number))
        with object_store.failing(**{**fault, "method": ".*", "key": step, "times": 4}):
            _run(local, object_store)
        assert object_store.tree(PREFIX) == local.wanted, fault
        count(1)
    for fault in ({"kind": "status", "status": 403, "code": "AccessDenied"}, {"kind": "reset"}):
        # A prefix each: a run whose last deletion is refused has finished its dataset.
        monkeypatch.setitem(globals(), "PREFIX", f"data/{fault['kind']}")
        with object_store.failing(**fault, key=step, times=None), pytest.raises(StorageError, match="could not"):
            _run(local, object_store)
        assert _final(object_store).items() <= local.wanted.items()
        _run(local, object_store)
        assert _final(object_store) == local.wanted
        assert step == "delete" or object_store.tree(PREFIX) == local.wanted
    assert object_store.uploads() == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["array", "dask"])
def test_other_engines_write_the_same_objects(local: Any, object_store: ObjectStore, engine: str) -> None:
    if engine == "dask":
        pytest.importorskip("distributed")
    out = object_store.url(PREFIX)
    command = ["preshard", *local.inputs, "--out", out, "--seed", 7, "--holdout", 0.2, "--engine", engine]
    command += ["--shard-bytes", 4096, "--max-tokens", 64]
    if engine == "array":
        assert [local.finish(*command, "--task", f"{i}/3")[0] for i in (2, 0)] == [0, 0]
        code, _, error = local.finish("finalize", out)
        assert (code, "--task" in error) == (3, True), error
        assert local.finish(*command, "--task", "1/3")[0] == 0
        command = ["finalize", out]
    code, _, error = local.finish(*command)
    assert (code, object_store.tree(PREFIX)) == (0, local.wanted), error
