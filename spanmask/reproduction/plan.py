"""A plan: arms to train alike, seeds, and what every model is asked. A TOML file, or one that ships, flows in; a `Plan` flows out.

::

    question = "…"                       # one line, for the page
    seeds = "6"                          # how many, or which, as in 1,2,5
    tokens = 20_000_000                  # of each training; or budget = 30, minutes of all trainings together, or --budget
    texts = ["corpus.jsonl.zst"]         # or on the command line
    primary = ["held-out/span/mlm_loss"] # what is claimed of: PROBE/FILE/FIGURE; all others stand beside
    held_out = ["span", "token"]         # whose masks held-out text is asked under; else those of every arm
    paper = "masking"                    # whose numbers stand beside: masking or objective

    [vocabulary]                         # train one on the texts; else preshard.vocab
    [preshard]                           # options of all arms
    [train]                              # options of all arms

    [arm.token]                          # the first one is what others are held against
    preshard = { scheme = "token" }
    train = { objective = "mlm" }

    [arm.token-again]                    # A′: the same with other masks
    null_of = "token"

    [probe.boundaries]
    kind = "boundaries"
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from spanmask.errors import ConfigError
from spanmask.options import Form, Options, hint_for
from spanmask.probes.config import seed_numbers
from spanmask.reproduction.arms import NAME, Arm, read_arms
from spanmask.reproduction.paper import TABLES
from spanmask.reproduction.probing import HELD_OUT, ProbePlan, probe_plan
from spanmask.reproduction.written import Written
from spanmask.vocabularies.config import TrainingConfig

_TABLES = ("vocabulary", "preshard", "train", "arm", "probe")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig(Options):
    """What a plan says of the whole grid; see the module.

    Attributes
    ----------
    question
        What is to be answered.
    primary
        Figures that claims are made of, one at least.
    seeds
        Of initial weights, order and dropout: how many, from 1 on, or which, as in 1,2,5.
    tokens
        Of each training, all pieces of sequences counted, special ones included; of a pair both segments.
    budget
        Minutes of all trainings together, on the machine that measures them.
    texts
        What every arm is presharded from.
    held_out
        Arms under whose masks held-out text is asked.
    paper
        Whose numbers stand beside.
    """

    question: str = ""
    primary: Annotated[tuple[str, ...], Form("a list of figures, PROBE/FILE/FIGURE each")]
    seeds: Annotated[str, Form("how many seeds, or which, as in 1,2,5", "LIST")] = "6"
    tokens: int | None = None
    budget: float | None = None
    texts: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    paper: str | None = None

    def _check(self) -> None:
        self._require(lambda value: 1 <= value <= 1 << 50, "a number of tokens", "tokens")
        self._require(lambda value: 0 < value <= 1e6, "minutes above 0", "budget")
        self._require(lambda value: value in TABLES, f"one of {', '.join(TABLES)}", "paper")
        self._require(
            lambda value: bool(seed_numbers(value)), "how many seeds, or which, each once, as in 1,2,5", "seeds"
        )
        self._require(bool, "one figure at least, as PROBE/FILE/FIGURE", "primary")

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return seed_numbers(self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Arms × seeds × probes. name: for people. content: as it was read, changes included."""

    name: str
    config: GridConfig
    vocabulary: TrainingConfig | None
    arms: tuple[Arm, ...]
    probes: tuple[ProbePlan, ...]
    content: Mapping[str, Any]

    def arm(self, name: str) -> Arm:
        """Return an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def masks(self) -> tuple[str, ...]:
        """The shards whose held-out text every model is asked under, by name."""
        chosen = self.config.held_out or [arm.name for arm in self.arms if not arm.null]
        return tuple(dict.fromkeys(self.arm(name).shards for name in chosen))

    @property
    def shards(self) -> tuple[str, ...]:
        """All shards, by name."""
        return tuple(dict.fromkeys(arm.shards for arm in self.arms))


def shipped_plans() -> dict[str, str]:
    """Return the plans that ship, as texts by name."""
    folder = resources.files(__package__).joinpath("plans")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in files}


def read_plan(plan: str, changes: Sequence[str] = ()) -> Plan:
    """Return a plan.

    Parameters
    ----------
    plan
        A file, or the name of one that ships.
    changes
        ``KEY=VALUE``: what stands in place of a value of it, such as ``train.model="mini"``; keys of tables are parted by dots.

    Raises
    ------
    ConfigError
        There is no such plan, or something in it cannot be used; its line is named.
    """
    text = plan_text(plan)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{plan}: not TOML ({error})") from None
    for change in changes:
        _change(content, change)
    return _plan(Path(plan).name.removesuffix(".toml"), content, Written(plan, text))


def plan_text(plan: str) -> str:
    """Return a plan as it is written.

    Raises
    ------
    ConfigError
        There is none.
    """
    shipped = shipped_plans()
    if plan in shipped:
        return shipped[plan]
    try:
        return Path(plan).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = "no such plan" if isinstance(error, FileNotFoundError) else f"not a readable file ({error})"
        raise ConfigError(f"{plan}: {told}; give a TOML file, or one of {', '.join(shipped)}") from None


def _change(content: dict[str, Any], change: str) -> None:
    """Put a value in place of another."""
    key, equals, value = change.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{change!r}: give KEY=VALUE, such as seeds=3 or train.model=mini")
    try:
        found: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    table = content
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{change!r}: {part} is no table of the plan; give a key of one")
    table[parts[-1]] = found
    # How far arms are trained is said in one of two ways.
    content.pop({"tokens": "budget", "budget": "tokens"}.get(key.strip(), ""), None)


def _plan(name: str, content: dict[str, Any], written: Written) -> Plan:
    kept = copy.deepcopy(content)
    if "seeds" in content:
        content["seeds"] = str(content["seeds"])
    tables = {table: content.pop(table, {}) for table in _TABLES}
    for table, value in tables.items():
        written.require_table((table,), value)
    written.require_names((), content, [*GridConfig.option_names(), *_TABLES])
    with written.placing():
        config = GridConfig.of(**content)
    plan = Plan(
        name=name,
        config=config,
        vocabulary=_vocabulary(tables["vocabulary"], kept, written),
        arms=tuple(read_arms(tables, written)),
        probes=tuple(_probes(tables["probe"], written)),
        content=kept,
    )
    _check(plan, written)
    return plan


def _vocabulary(options: dict[str, Any], content: Mapping[str, Any], written: Written) -> TrainingConfig | None:
    if "vocabulary" not in content:
        return None
    written.require_names(("vocabulary",), options, TrainingConfig.option_names())
    with written.placing("vocabulary"):
        return TrainingConfig.of(**options)


def _probes(tables: Mapping[str, Any], written: Written) -> Iterator[ProbePlan]:
    for name, table in tables.items():
        place = ("probe", name)
        written.require_table(place, table)
        if not NAME.fullmatch(name) or name in (HELD_OUT, "training"):
            raise written.error(
                place,
                f"a probe is called {name!r}: give letters, digits, +, - and _ alone, and neither training nor {HELD_OUT}",
            )
        yield probe_plan(name, table, written)


def _check(plan: Plan, written: Written) -> None:
    """Refuse what does not belong together."""
    config = plan.config
    if config.tokens is not None and config.budget is not None:
        raise written.error(("budget",), "tokens and budget are given: give one")
    for key in config.held_out:
        if key not in {arm.name for arm in plan.arms}:
            raise written.error(
                ("held_out",), f"held_out names {key!r}; {hint_for(key, [arm.name for arm in plan.arms])}"
            )
    asked = {HELD_OUT, *(probe.name for probe in plan.probes)}
    for outcome in config.primary:
        probe, *rest = outcome.split("/")
        if probe not in asked or len(rest) < 2 or (probe == HELD_OUT and rest[0] not in plan.masks):
            known = ", ".join(
                [
                    *(f"{HELD_OUT}/{name}/FIGURE" for name in plan.masks),
                    *(f"{name}/FILE/FIGURE" for name in sorted(asked - {HELD_OUT})),
                ]
            )
            raise written.error(("primary",), f"primary names {outcome!r}: give one of {known}")
    for arm in plan.arms:
        if not arm.preshard_config.output.holdout:
            raise written.error(
                ("preshard", "holdout"), f"arm {arm.name} holds out no documents: give holdout, such as 0.05"
            )
        if arm.null and arm.train.get("masks") == "stored":
            raise written.error(
                ("arm", arm.name),
                f'arm {arm.name} is to have other masks than {arm.against}, and masks are stored: give masks = "fresh"',
            )
