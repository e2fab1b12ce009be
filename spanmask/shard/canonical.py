"""Manifests as canonical JSON, read and written around their inputs, which may be very many: no object is made of those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from spanmask.config import canonical_json
from spanmask.shard.input_list import InputList

_INPUTS = "inputs"
#: What stands before and behind the inputs in a manifest's file: quotes within a string have a backslash.
_BEFORE, _BEHIND = b',"inputs":[{', b'}],"'


def packed(content: dict[str, Any]) -> dict[str, Any]:
    """Return an object with its inputs, if they are a list, as an `InputList`."""
    inputs = content.get(_INPUTS)
    return content if type(inputs) is not list else {**content, _INPUTS: InputList.of(canonical_json(inputs))}


def unpacked(content: dict[str, Any]) -> dict[str, Any]:
    """Return what `packed` was given."""
    inputs = content.get(_INPUTS)
    return {**content, _INPUTS: json.loads(b"".join(inputs.pieces()))} if isinstance(inputs, InputList) else content


def pieces(content: dict[str, Any]) -> Iterator[bytes]:
    """Yield the canonical JSON of an object, packed or not, in pieces."""
    yield b"{"
    for number, name in enumerate(sorted(content)):
        value = content[name]
        yield (b"," if number else b"") + canonical_json(name) + b":"
        yield from value.pieces() if isinstance(value, InputList) else [canonical_json(value)]
    yield b"}"


def fingerprint_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of an object, packed or not, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces(content):
        digest.update(piece)
    return digest.hexdigest()


def parsed(data: bytes) -> dict[str, Any] | None:
    """Return the object, packed, whose canonical JSON is in a file, its last line ended; None where another text or value is.

    Of its inputs as much is known as that their text is in its place: `InputList.check` says whether it is canonical JSON, too.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON.
    """
    around = _parsed_around(data)
    if around is not None and _is_text_of(around, data):
        return around
    content = json.loads(data.decode("utf-8"))
    if not isinstance(content, dict):
        return None
    whole = packed(content)
    return whole if _is_text_of(whole, data) else None


def _parsed_around(data: bytes) -> dict[str, Any] | None:
    """Return what is in a file, the first that looks like a list of inputs unparsed; None where nothing does, or the rest is no JSON."""
    before = data.find(_BEFORE)
    behind = data.find(_BEHIND, before)
    if before < 0 or behind < 0:
        return None
    start, stop = before + len(_BEFORE) - 2, behind + 2
    try:
        content = json.loads((data[:start] + b"[]" + data[stop:]).decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get(_INPUTS) != []:
        return None
    return {**content, _INPUTS: InputList.of(data, start, stop)}


def _is_text_of(content: dict[str, Any], data: bytes) -> bool:
    place = 0
    for piece in pieces(content):
        if not data.startswith(piece, place):
            return False
        place += len(piece)
    return data[place:] == b"\n"
