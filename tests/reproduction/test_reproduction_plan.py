"""Plans: what they come to, and what is refused, by its line."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from spanmask_cli.probe import PROBES

from spanmask.errors import ConfigError
from spanmask.reproduction.cells import cells_of, chosen
from spanmask.reproduction.plan import Plan, read_plan, shipped_plans
from spanmask.reproduction.probing import KINDS

PLAN = """\
question = "Is it so?"
seeds = "3,5"
tokens = 1000
primary = ["held-out/token/mlm_loss", "asked/masked/saved"]

[preshard]
seed = 7
holdout = 0.2

[train]
preset = "cpu"
objective = "mlm"

[arm.token]
preshard = { scheme = "token" }

[arm."span+sbo"]
preshard = { scheme = "span" }
train = { objective = "mlm+sbo" }

[arm.again]
null_of = "span+sbo"

[arm.slow]
like = "span+sbo"
against = "span+sbo"
equal = "seconds"
train = { hidden_dropout = 0.1, attention = "sdpa" }

[probe.asked]
kind = "boundaries"
spans = 100

[probe.squad]
kind = "qa"
epochs = 2
"""


def plan_of(folder: Path, text: str = PLAN, *changes: str) -> Plan:
    path = folder / "plan.toml"
    path.write_text(text, "utf-8")
    return read_plan(str(path), changes)


def test_arms_have_the_options_of_all_and_their_own(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    token, span, again, slow = plan.arms
    assert [arm.against for arm in plan.arms] == [None, "token", "span+sbo", "span+sbo"]
    assert [arm.null for arm in plan.arms] == [False, False, True, False]
    assert [arm.shards for arm in plan.arms] == ["token", "span+sbo", "span+sbo", "span+sbo"]
    assert token.train_config().objective == "mlm"
    assert (span.train_config().objective, span.preshard_config.output.holdout) == ("mlm+sbo", 0.2)
    # A′ is the same but for the draw of its masks.
    assert {**again.train, "mask_epoch": 0} == {**span.train, "mask_epoch": 0}
    assert (again.train_config().mask_epoch, span.train_config().mask_epoch) == (1 << 15, 0)
    assert slow.train_config().hidden_dropout == 0.1
    assert plan.masks == ("token", "span+sbo")
    assert plan.config.seed_numbers == (3, 5)


def test_cells_stand_in_the_order_they_need_each_other(tmp_path: Path) -> None:
    cells = cells_of(plan_of(tmp_path))
    names = [cell.name for cell in cells]
    # A probe without files is not asked, and what is asked of held-out text alone needs no search for shared text.
    assert names[:6] == [
        *("shards/token", "shards/span+sbo", "tokens"),
        *("token/seed-3/training", "token/seed-3/held-out", "token/seed-3/asked"),
    ]
    assert len(names) == 3 + 4 * 2 * 3
    for place, cell in enumerate(cells):
        assert set(cell.needs) <= set(names[:place])


def test_patterns_choose_cells_and_what_they_need(tmp_path: Path) -> None:
    cells = cells_of(plan_of(tmp_path))
    found = [cell.name for cell in chosen(cells, ["again/seed-5/held-*"])]
    shards = ["shards/token", "shards/span+sbo", "tokens"]
    assert found == [*shards, "again/seed-5/training", "again/seed-5/held-out"]
    assert chosen(cells, []) == cells
    with pytest.raises(ConfigError, match=r"no cell is called 'tokens/1'; did you mean 'tokens'"):
        chosen(cells, ["tokens/1"])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("holdout = 0.2", "hold_out = 0.2", r"plan.toml:8: unknown option 'hold_out' of \[preshard\]; did you mean 'holdout'"),
        ("holdout = 0.2", "holdout = 2", r"plan.toml:8: \[arm.token\]: holdout is 2.0: give a share"),
        ("holdout = 0.2", "", "plan.toml:6: arm token holds out no documents: give holdout"),
        ('"mlm+sbo"', '"nsp"', r"plan.toml:19: \[arm.span\+sbo\]: objective is 'nsp': give one of"),
        ('null_of = "span+sbo"', 'null_of = "span"', "plan.toml:22: null_of is 'span', no arm before this one; did you mean 'span.sbo'"),
        ('null_of = "span+sbo"', 'null_of = "span+sbo"\ntrain = { masks = "stored" }', "plan.toml:21: arm again is to have other masks"),
        ("hidden_dropout = 0.1", "steps = 5", "plan.toml:28: steps is the grid's to say of every training"),
        ('equal = "seconds"', 'equal = "minutes"', r"plan.toml:27: \[arm.slow\]: equal is 'minutes': give one of tokens, seconds"),
        ("spans = 100", "span = 100", "plan.toml:32: unknown option 'span' of .probe.asked.; did you mean 'spans"),
        ('kind = "qa"', 'kind = "quiz"', "plan.toml:35: a probe of kind 'quiz': give kind, one of boundaries, qa"),
        ('kind = "qa"', 'kind = "qa"\neval = ["none.json"]', "plan.toml:36: none.json: no such file or folder"),
        ('"asked/masked/saved"', '"ask/masked/saved"', "plan.toml:4: primary names 'ask/masked/saved': give one of held-out/token/FIGURE"),
        ('"held-out/token/mlm_loss"', '"held-out/tok/mlm_loss"', "plan.toml:4: primary names 'held-out/tok/mlm_loss'"),
        ("tokens = 1000", "tokens = 1000\nbudget = 3", "plan.toml:4: tokens and budget are given: give one"),
        ('seeds = "3,5"', 'seeds = "3,3"', "plan.toml:2: seeds is '3,3': give how many seeds"),
        ("[arm.token]", "[arm.tokens]", "plan.toml:14: an arm is called 'tokens'"),
        ("[train]", "[train", "plan.toml: not TOML"),
        ("[train]", "[trains]", "plan.toml:10: unknown option 'trains'; did you mean 'train'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert PLAN.count(old) >= 1
    with pytest.raises(ConfigError, match=told):
        plan_of(tmp_path, PLAN.replace(old, new, 1))


def test_an_archive_to_score_on_is_refused_since_nobody_looks_into_it(tmp_path: Path) -> None:
    archive = tmp_path / "dev.tar.gz"
    archive.touch()
    with pytest.raises(ConfigError, match=r"plan.toml:37: .*dev.tar.gz: what texts share .* unpack it"):
        plan_of(tmp_path, PLAN.replace('kind = "qa"', f'kind = "qa"\ntrain = ["{archive}"]\neval = ["{archive}"]'))


def test_changes_stand_in_place_of_a_plans_values(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, PLAN, "train.model=mini", "seeds=2", "budget=7", "probe.asked.spans=9")
    assert plan.arms[0].train_config().model == "mini"
    assert plan.config.seed_numbers == (1, 2)
    assert (plan.config.tokens, plan.config.budget) == (None, 7)
    assert plan.content["probe"]["asked"]["spans"] == 9
    for change, told in (("train.modle=mini", "plan.toml:10: unknown option 'modle'"), ("seeds", "give KEY=VALUE")):
        with pytest.raises(ConfigError, match=told):
            plan_of(tmp_path, PLAN, change)


def test_a_plan_that_is_not_there_is_told_with_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"quikc: no such plan; give a TOML file, or one of .*quick"):
        read_plan("quikc")


def test_a_plan_may_ask_whatever_a_command_asks() -> None:
    assert set(KINDS) == set(PROBES) - {"compare"}
    for kind in KINDS.values():
        if kind.task is not None:
            module, name = kind.task
            assert hasattr(import_module(f"spanmask.probes.{module}.task"), name)


@pytest.mark.parametrize("name", list(shipped_plans()))
def test_a_plan_that_ships_can_be_used(name: str) -> None:
    plan = read_plan(name)
    assert plan.config.question
    assert len(cells_of(plan)) > len(plan.arms)
    assert {outcome.split("/")[0] for outcome in plan.config.primary} >= {"held-out"}


@pytest.mark.data
def test_the_plan_of_the_bench_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    shared = root.parent / "shared"
    if not shared.is_dir():
        pytest.skip(f"{shared} is not there")
    (tmp_path / "shared").symlink_to(shared)
    (tmp_path / "main" / "work" / "litbank_coref").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "main")
    plan = read_plan(str(root / "bench" / "plans" / "spans.toml"))
    assert [(arm.name, arm.against, arm.null) for arm in plan.arms] == [
        *(("token", None, False), ("span", "token", False), ("span-sbo", "span", False), ("span-again", "span", True))
    ]
    assert len(plan.config.seed_numbers) == 6
    assert all(probe.has_files for probe in plan.probes)
