"""Cut a line of JSON down to the fields that are asked for, so that no other decides whether it is read: bytes flow in and out."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator

_WHITE = re.compile(r"[ \t\r\n]*")
#: Numbers stay text: they are looked over, not computed, and Python refuses to compute long ones.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def only_fields(line: bytes, names: Container[str]) -> bytes | None:
    """Return an object that has the named fields of a line as they are written there; None where the line is no object.

    What JSON's grammar allows and most parsers refuse, a lone surrogate or a number beyond all floats, is passed over with its field.
    """
    try:
        text = line.decode()
        wanted = [f"{json.dumps(name)}:{value}" for name, value in _fields(text) if name in names]
    except (ValueError, RecursionError):
        return None
    return f"{{{','.join(wanted)}}}".encode()


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the written value of each field of an object; ValueError where the text is none."""
    at, mark = _after(text, 0, "{"), ","
    while mark == ",":
        if text[at : at + 1] != '"':
            raise ValueError
        name, at = _DECODER.raw_decode(text, at)
        start = _after(text, at, ":")
        _, end = _DECODER.raw_decode(text, start)
        yield name, text[start:end]
        at = _past_white(text, end)
        mark = text[at : at + 1]
        at = _after(text, at, ",}")
    if at < len(text):
        raise ValueError


def _after(text: str, at: int, marks: str) -> int:
    """Return where something stands again after one of some marks, white space aside."""
    at = _past_white(text, at)
    if at == len(text) or text[at] not in marks:
        raise ValueError
    return _past_white(text, at + 1)


def _past_white(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    return found.end() if found else at
