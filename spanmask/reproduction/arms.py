"""The arms of a plan: each one's options of presharding and training, those of all arms or of another one included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spanmask.config import PreshardConfig
from spanmask.errors import ConfigError
from spanmask.options import Options, hint_for
from spanmask.reproduction.written import Written
from spanmask.train.config import TrainConfig

#: What the grid itself says of every training.
_THE_GRIDS = ("steps", "seed", "evaluate", "eval_every", "order_key")
#: What a table of options may name.
_KNOWN = {"preshard": PreshardConfig.option_names(), "train": [*TrainConfig.option_names(), "preset"]}
#: Of an arm that is to be no different: the first mask epoch, half of all away from the one it is held against.
_OTHER_MASKS = 1 << 15
#: Names of arms and probes, and of folders that are no arm's.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]*")
_TAKEN = ("shards", "overlap", "vocabulary", "tokens")


class Equal(StrEnum):
    """What an arm has as much of as the one that it is held against."""

    TOKENS = "tokens"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmConfig(Options):
    """What a plan says of an arm, beside its options of presharding and training.

    Attributes
    ----------
    like
        The arm whose options it begins with.
    against
        The arm that it is held against. [the first one]
    null_of
        It is this arm again, with other masks: no difference is to be found.
    equal
        Whether it is trained for as many tokens as other arms, or for as many seconds as the arm it is held against.
    texts
        What it is presharded from, instead of the plan's texts.
    """

    like: str | None = None
    against: str | None = None
    null_of: str | None = None
    equal: Equal = Equal.TOKENS
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of training. preshard, train: options by name, those of all arms included. against: None of the first one.

    null: whether no difference is to be found. shards: the arm under whose name its shards stand.
    """

    name: str
    preshard: Mapping[str, Any]
    train: Mapping[str, Any]
    against: str | None
    null: bool
    equal: Equal
    texts: tuple[str, ...]
    shards: str

    @property
    def preshard_config(self) -> PreshardConfig:
        """Its options of presharding, but for a vocabulary that the grid trains."""
        return PreshardConfig.of(**self.preshard)

    def train_config(self, **changes: Any) -> TrainConfig:
        """Return its options of training with changes."""
        return TrainConfig.of(**{**self.train, **changes})


def read_arms(tables: Mapping[str, Any], written: Written) -> Iterator[Arm]:
    """Yield the arms, each with the options of all."""
    _require_common(tables, written)
    made: dict[str, Arm] = {}
    if len(tables["arm"]) < 2:
        raise ConfigError(f"{written.plan}: {len(tables['arm'])} arms ([arm.NAME]): give two at least")
    for name, table in tables["arm"].items():
        place = ("arm", name)
        written.require_table(place, table)
        if not NAME.fullmatch(name) or name in _TAKEN:
            raise written.error(
                place, f"an arm is called {name!r}: give letters, digits, +, - and _ alone, and no {', '.join(_TAKEN)}"
            )
        options = {key: value for key, value in table.items() if key not in _KNOWN}
        written.require_names(place, options, [*ArmConfig.option_names(), *_KNOWN])
        with written.placing(*place):
            told = ArmConfig.of(**options)
        made[name] = _arm(name, told, table, tables, made, written)
        yield made[name]


def _require_common(tables: Mapping[str, Any], written: Written) -> None:
    for kind, known in _KNOWN.items():
        written.require_names((kind,), tables[kind], known)
    _refuse_the_grids(("train",), tables["train"], written)
    if "vocabulary" in tables["preshard"] and "vocab" in tables["preshard"]:
        raise written.error(("preshard", "vocab"), "vocab is given, and [vocabulary] trains one: leave one out")


def _refuse_the_grids(place: tuple[str, ...], options: Mapping[str, Any], written: Written) -> None:
    for name in _THE_GRIDS:
        if name in options:
            raise written.error((*place, name), f"{name} is the grid's to say of every training: leave it out")


def _arm(
    name: str, told: ArmConfig, table: Mapping[str, Any], tables: Mapping[str, Any], made: Mapping[str, Arm], written: Written
) -> Arm:  # fmt: skip
    place = ("arm", name)
    own: dict[str, dict[str, Any]] = {}
    for kind, known in _KNOWN.items():
        own[kind] = table.get(kind, {})
        written.require_table((*place, kind), own[kind])
        written.require_names((*place, kind), own[kind], known)
    _refuse_the_grids((*place, "train"), own["train"], written)
    begun = _known_arm(place, told.null_of or told.like, "null_of" if told.null_of else "like", made, written)
    preshard = {**(begun.preshard if begun else tables["preshard"]), **own["preshard"]}
    train = {**(begun.train if begun else tables["train"]), **own["train"]}
    if told.null_of and begun and preshard == begun.preshard and train == begun.train:
        train["mask_epoch"] = _OTHER_MASKS
    against = told.null_of or told.against or next(iter(made), None)
    _known_arm(place, against if made else None, "against", made, written)
    with written.placing(*place):
        PreshardConfig.of(**preshard)
        TrainConfig.of(**train)
    texts = told.texts or (begun.texts if begun else ())
    twin = next((arm for arm in made.values() if (arm.preshard, arm.texts) == (preshard, texts)), None)
    return Arm(
        name=name,
        preshard=preshard,
        train=train,
        against=against,
        null=bool(told.null_of),
        equal=told.equal,
        texts=texts,
        shards=twin.shards if twin else name,
    )


def _known_arm(
    place: tuple[str, ...], name: str | None, key: str, made: Mapping[str, Arm], written: Written
) -> Arm | None:
    """Return an arm that another one names, which stands before it."""
    if name is not None and name not in made:
        raise written.error((*place, key), f"{key} is {name!r}, no arm before this one; {hint_for(name, made)}")
    return None if name is None else made[name]
