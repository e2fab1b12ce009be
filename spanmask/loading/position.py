"""Where a run stands in its stream of samples, as a small state that any number of ranks and workers goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.loading.config import BatchLayout

#: Version 1 told the targets that a bin holds, which packing went by.
STATE_VERSION = 2
_LIMIT = 1 << 62
_NAMES = {
    BatchLayout.PADDED: ("epoch", "samples"),
    BatchLayout.BUCKETED: ("epoch", "window", "bin"),
    BatchLayout.PACKED: ("epoch", "window", "bin"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The samples, or bins, of an epoch that were consumed: whole windows, and units of the next one (padded: of all)."""

    epoch: int = 0
    window: int = 0
    unit: int = 0

    def to_state(self, layout: BatchLayout, settings: Mapping[str, Any], ahead: int = 0) -> dict[str, Any]:
        """Return the position as plain values.

        Parameters
        ----------
        layout
            Of the batches; it names the parts.
        settings
            All that decides the stream, to be compared when the state is loaded.
        ahead
            Batches from here on that others deliver: those of the other worker processes, in a worker's own state.
        """
        values = (self.epoch, self.unit) if layout is BatchLayout.PADDED else (self.epoch, self.window, self.unit)
        state: dict[str, Any] = dict(zip(_NAMES[layout], values, strict=True))
        return {"version": STATE_VERSION, **state, "ahead": ahead, "settings": dict(settings)}


def read_state(
    state: Mapping[str, Any], layout: BatchLayout, settings: Mapping[str, Any], *, samples: int
) -> tuple[Position, int]:
    """Return the position and the batches ahead that a state holds. samples: of an epoch.

    Raises
    ------
    ConfigError
        It is no state of this layout.
    MismatchError
        It belongs to another stream: of other datasets, another seed, order, window or capacities.
    """
    version = state.get("version") if isinstance(state, Mapping) else None
    if type(version) is not int:
        raise ConfigError("not a loader's state: give what state_dict() returned")
    if version != STATE_VERSION:
        raise ConfigError(
            f"the loader's state is of version {version}, this spanmask goes on from version {STATE_VERSION}: "
            "finish that run with the spanmask that began it, or begin an epoch anew with set_epoch()"
        )
    told = state.get("settings")
    if not isinstance(told, Mapping):
        raise ConfigError("the loader's state lacks its settings: give what state_dict() returned, whole")
    unlike = sorted((name for name in {*told, *settings} if told.get(name) != settings.get(name)), key=str)
    if unlike:
        lines = "; ".join(f"{name}: {_shown(told.get(name))}, now {_shown(settings.get(name))}" for name in unlike)
        raise MismatchError(
            f"the state belongs to another stream of samples ({lines}): load it into a loader of the same settings"
        )
    values = [state.get(name) for name in (*_NAMES[layout], "ahead")]
    if not all(type(value) is int and 0 <= value < _LIMIT for value in values):
        raise ConfigError(f"the loader's state holds {values}: give what state_dict() returned")
    *parts, ahead = (int(value) for value in values if value is not None)
    window = parts[1] if layout is not BatchLayout.PADDED else 0
    _require_inside(parts[0], window, parts[-1], samples, settings["window"])
    return Position(epoch=parts[0], window=window, unit=parts[-1]), ahead


def _shown(value: object) -> str:
    """Return a setting as text; fingerprints of datasets, the only texts in lists, by their beginnings."""
    if isinstance(value, list):
        value = [short_digest(one) if isinstance(one, str) else one for one in value]
    return repr(value)


def _require_inside(epoch: int, window: int, unit: int, samples: int, width: int | None) -> None:
    """Refuse a place beyond an epoch's end, and an epoch whose samples are not counted in 64 bits. width: samples of a window."""
    in_windows = width is None or window * width < samples + width
    if not (in_windows and unit <= (width or samples) and (epoch + 1) * samples < _LIMIT):
        raise ConfigError(
            f"the loader's state tells of epoch {epoch}, window {window} and place {unit}, and an epoch has {samples:,} samples: "
            "give what state_dict() returned"
        )
