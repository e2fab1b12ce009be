"""A temporary name says whose it is, and it is known of a process of this host whether it still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spanmask import owners
from spanmask.owners import Owner
from spanmask.presharding.collecting import collect
from spanmask.storage import TEMPORARY, beside, owner_of, remove_temporaries


def dead() -> Owner:
    """Return a process that was here and is gone."""
    code = "from spanmask.owners import Owner; print(Owner.here())"
    owner = Owner.of(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert owner is not None
    return owner


def test_a_process_is_known_by_its_name_and_lives_until_it_ends() -> None:
    here = Owner.here()
    assert (Owner.of(str(here)), here.pid, here.lives) == (here, os.getpid(), True)
    assert dead().lives is False
    assert replace(here, host="elsewhere").lives is None


def test_a_process_that_ended_and_that_nobody_has_waited_for_is_dead() -> None:
    code = "from spanmask.owners import Owner; print(Owner.here())"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as told:
        owner = Owner.of(told.read())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner is not None
    assert owner.lives is False
    process.wait()


def test_another_process_of_the_same_number_is_another() -> None:
    here = Owner.here()
    assert here.started
    assert replace(here, started=here.started - 1).lives is False


def test_where_the_system_does_not_tell_starts_a_number_in_use_is_taken_for_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = dead()
    monkeypatch.setattr(owners, "_started", lambda pid: None)
    here = Owner.here()
    assert (here.started, here.lives, gone.lives) == (0, True, False)


@pytest.mark.parametrize("host", ["node-7.example", "-", "", "имя", "x" * 64])
def test_any_host_has_a_name_that_is_read_again(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owners._host.cache_clear()
    try:
        monkeypatch.setattr("socket.gethostname", lambda: host)
        path = beside(Path("/folder") / f"{'é' * 100}-{'0' * 20}.arrow")
        assert owner_of(path) == Owner.here()
        assert len(os.fsencode(path.name)) <= 255
        assert path.name.endswith("-00000000000000000000.arrow")
    finally:
        owners._host.cache_clear()


@pytest.mark.parametrize("differing", ["end of a long name", "boot", "namespace", "letter that no name keeps"])
def test_processes_of_hosts_that_differ_anywhere_are_not_each_other_s(
    differing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where `gc` took one node for another it would remove what lives there."""
    boots = [tmp_path / "a", tmp_path / "b"]
    for path in boots:
        path.write_text(path.name)
    names = {"end of a long name": ("x" * 40 + "1", "x" * 40 + "2"), "letter that no name keeps": ("nöde", "näde")}
    hosts = []
    for number in (0, 1):
        owners._host.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr("socket.gethostname", lambda at=number: names.get(differing, ("localhost",) * 2)[at])
            patch.setattr(owners, "_BOOT", boots[number * (differing == "boot")])
            patch.setattr(owners, "_NAMESPACE", boots[number * (differing == "namespace")])
            hosts.append(Owner.here())
            assert hosts[0].lives is (None if number else True)
    owners._host.cache_clear()
    assert hosts[0].host != hosts[1].host


@pytest.mark.parametrize(
    "name", [".tmp-0123-a", ".tmp-out", f"{TEMPORARY}{'0' * 16}-shard.arrow", "a-1-2", ".tmp-a-1-x"]
)
def test_names_that_say_no_process_belong_to_none(name: str) -> None:
    assert owner_of(Path(name)) is None


def test_only_of_dead_processes_of_this_host_it_is_known_that_what_they_left_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.presharding.collecting.user_cache_folder", lambda: tmp_path / "none")
    here, gone = Owner.here(), dead()
    others = replace(gone, host="elsewhere")
    for owner in (here, gone, others):
        (tmp_path / f"{TEMPORARY}{owner}-{'0' * 16}-a").touch()
    (tmp_path / f"{TEMPORARY}{'0' * 16}-of-an-earlier-release").touch()
    kept = {str(left.path) for left in collect([tmp_path]).kept}
    assert {str(owner_of(path)) for path in tmp_path.iterdir()} == {str(here), str(others), "None"}
    assert kept == {str(path) for path in tmp_path.iterdir()}
    remove_temporaries(tmp_path)
    assert not list(tmp_path.iterdir())
