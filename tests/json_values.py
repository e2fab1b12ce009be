"""Every place of a JSON value, and the values to try there: for files whose digests anyone can make anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, ...]

_NUMBERS = (0, -1, 1, 3, 1 << 16, 1 << 31, 1 << 40, (1 << 48) - 1, (1 << 63) - 1, 1 << 63, 1 << 70, -(1 << 63))
_OTHERS = (None, True, 0.5, -1, "", "x", [], {}, [0], [-1], [1 << 62], ["x"], {"x": 0}, [[]])
#: Put into a place, it takes away what stands there.
GONE = object()


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every place of a value with what stands there; of lists the first, the last and one between."""
    yield place, value
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list):
        for number in sorted({0, len(value) // 2, len(value) - 1} & set(range(len(value)))):
            yield from places(value[number], (*place, number))


def changes(content: dict[str, Any], *left_alone: str) -> list[tuple[Place, Any]]:
    """Return every place with each value to be put there; parts may be left alone."""
    found = []
    for place, value in places(content):
        if not place or place[0] in left_alone:
            continue
        if type(value) is int:
            near = (value + 1, value - 1, 2 * value, -value, float(value), str(value), None, True, [value])
            values: tuple[Any, ...] = (*_NUMBERS, *near)
        elif isinstance(value, list):
            values = (*_OTHERS, value[:-1], value[1:], value + value[-1:], value + value, [0] * len(value))
        else:
            values = _OTHERS
        found += [(place, new) for new in (*values, GONE)]
    return found


def changed(content: dict[str, Any], place: Place, new: Any) -> dict[str, Any]:
    """Return a copy of a value with another in one of its places."""
    content = copy.deepcopy(content)
    put(content, place, new)
    return content


def put(content: Any, place: Place, new: Any) -> None:
    """Put a value into one of the places of another."""
    *outer, last = place
    for key in outer:
        content = content[key]
    if new is GONE:
        del content[last]
    else:
        content[last] = new


def named(place: Place, new: Any) -> str:
    """Return a change in words."""
    return f"{'nothing' if new is GONE else f'{new!r:.60}'} at {'.'.join(map(str, place))}"
