"""The power goes after any step of a run: where a manifest is there, all it says is; and the run goes on to the same bytes."""

from __future__ import annotations

import inspect
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from figures import figure
from planted import plant
from power import Disk, Tree
from presharding.test_presharding_faults import Faults
from steps import steps_of

from spanmask import storage
from spanmask.presharding import state

pytestmark = pytest.mark.faults

BEGINNINGS = ["nothing", "old"]


@pytest.fixture(scope="module")
def faults(make_lab: Any) -> Faults:
    return Faults(make_lab("power"))


def recorded(faults: Faults, beginning: str) -> tuple[Path, Disk]:
    """Return a folder, and the disk under a run in it; beginning: what stands there before."""
    out = faults.next_folder()
    root = faults.lab.folder / out
    root.mkdir()
    if beginning == "old":
        faults.run_old(out)
    before = faults.lab.tree(out)
    return root, Disk(root, before, steps_of(partial(faults.run_new, out), faults.lab.folder))


def states(disk: Disk, count: int) -> Iterator[Tree]:
    """Yield what may be there: after each step with all or nothing that is not sure, and as many more with any part of it, by a seed.

    Half of these are while the dataset is put in its place, which is the end.
    """
    for cut in range(disk.steps + 1):
        yield disk.after(cut, lambda: False)
        yield disk.after(cut, lambda: True)
    rng = random.Random(1)
    for number in range(count):
        share, first = rng.random(), (number % 2) * (disk.steps - 60)
        yield disk.after(rng.randint(first, disk.steps), lambda share=share: rng.random() < share)


def visible(tree: Tree) -> Tree:
    return {path: data for path, data in tree.items() if not path.startswith(".spanmask/") and not path.endswith("/")}


def unsound(faults: Faults, disk: Disk, count: int) -> list[list[str]]:
    """Return what there may be where a manifest tells of what is not there, by name."""
    whole = [visible(faults.lab.tree(name)) for name in ("old", "new")]
    end = visible(disk.after(disk.steps, lambda: False))
    found = [visible(tree) for tree in (*states(disk, count), end) if "manifest.json" in tree]
    return [sorted(tree) for tree in found if tree not in whole] + [[]] * (end != whole[1])


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_manifest_that_outlives_a_power_cut_has_all_it_lists(
    faults: Faults, beginning: str, count: Callable[[int], None]
) -> None:
    _, disk = recorded(faults, beginning)
    more = figure(300, 2500)
    assert unsound(faults, disk, more) == []
    count(more + 2 * disk.steps)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_run_goes_on_after_a_power_cut(faults: Faults, beginning: str, count: Callable[[int], None]) -> None:
    root, disk = recorded(faults, beginning)
    chosen = random.Random(2).sample([*states(disk, figure(20, 400))], figure(3, 150))
    for tree in chosen:
        shutil.rmtree(root)
        root.mkdir()
        for path, data in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                (root / path).mkdir(exist_ok=True)
            else:
                (root / path).write_bytes(data)
        faults.run_new(root.name)
        faults.assert_new(root.name)
    count(len(chosen))


# --- Each defence taken out


#: A flush, with the line before it that tells it from others.
FLUSHES = {
    "of a file": (storage, "file.flush()", "os.fsync(file.fileno())"),
    "of a folder": (storage, "try:", "os.fsync(descriptor)"),
    "before the manifest": (state, "manifest's name, and not those that it lists.", "sync_folder(self.out)"),
    "after the old manifest": (state, "(self.out / MANIFEST).unlink(missing_ok=True)", "sync_folder(self.out)"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("flush", FLUSHES)
def test_a_run_without_one_of_its_flushes_is_found(faults: Faults, monkeypatch: pytest.MonkeyPatch, flush: str) -> None:
    module, before, line = FLUSHES[flush]
    (found,) = re.findall(rf"(.*{re.escape(before)}\n *){re.escape(line)}\n", inspect.getsource(module))
    plant(monkeypatch, module, found + line, f"{found}pass")
    _, disk = recorded(faults, "old")
    assert unsound(faults, disk, 2000)
