"""Inputs of a manifest, however many: read and refused as if they were parsed with the rest of it, and no object is made of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from memory import traced
from planted import plant
from resealed import reseal

from spanmask.config import canonical_json, fingerprint
from spanmask.errors import ShardError
from spanmask.shard import input_list
from spanmask.shard import manifest as manifests
from spanmask.shard.canonical import fingerprint_of, pieces
from spanmask.shard.input_list import InputList
from spanmask.shard.manifest import read_manifest

#: Of two blocks.
MANY = 700


def record(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(b"%d" % number).hexdigest()
    return {"index": number, "name": name or f"{number:07}.txt", "size": 10**8 + number, "sha256": sha256, **more}


def records(count: int = MANY) -> list[dict[str, Any]]:
    return [record(number) for number in range(count)]


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return content


def give(folder: Path, content: dict[str, Any]) -> bytes:
    """Write a manifest of a content, its digests right. Inputs may be an `InputList` of any text."""
    content = {key: value for key, value in content.items() if key not in ("digest", "fingerprint")}
    content["fingerprint"] = manifests._content_fingerprint(content)
    data = b"".join(pieces({**content, "digest": fingerprint_of(content)})) + b"\n"
    (folder / "manifest.json").write_bytes(data)
    return data


def give_text(folder: Path, text: bytes) -> bytes:
    return give(folder, content_of(folder) | {"inputs": InputList.of(text)})


def test_a_manifest_of_many_inputs_takes_less_memory_than_their_names(fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    size = len(give(folder, content_of(folder) | {"inputs": records(4_000)}))
    assert 500_000 < size < 600_000
    with traced() as found:
        manifest = read_manifest(folder)
    assert found.kept < size // 2
    # The file, what is kept of it, and a block of inputs as objects.
    assert found.peak < size + size // 2 + (1 << 20)
    assert len(manifest.inputs) == 4_000


#: Names that look like what stands between, before and behind inputs, or take several bytes a letter.
NAMES = [
    '},{"index":1',
    ',"inputs":[{',
    '}],"',
    "}],",
    '"',
    "\\",
    "\\\\",
    "\n",
    "\0",
    "ab/c d",
    "ü/漢字/😀.txt",
    "[]{}",
]


def test_inputs_come_back_as_they_were_written(fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    given = [record(number, NAMES[number % len(NAMES)] * (number % 7 + 1)) for number in range(MANY)]
    given[7]["range_bytes"] = 1 << 30
    made = reseal(folder, lambda content: content.update(inputs=given))
    manifest = read_manifest(folder)
    assert [item.to_json() for item in manifest.inputs] == given
    assert manifest.content == made.content == content_of(folder)
    assert manifest.to_bytes() == made.to_bytes() == (folder / "manifest.json").read_bytes()
    content = content_of(folder)
    assert manifest.digest == fingerprint({key: value for key, value in content.items() if key != "digest"})


@pytest.mark.parametrize("inputs", [[], [record(0)], records()], ids=len)
def test_as_many_inputs_are_read_as_there_are(inputs: list[dict[str, Any]], fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    give(folder, content_of(folder) | {"inputs": inputs})
    assert [item.to_json() for item in read_manifest(folder).inputs] == inputs


UNKNOWN = [
    {"another": {"a": 1, "inputs": [{"x": 1}], "z": 2}},
    {"another": {"a": 1, "inputs": [record(5)], "z": 2}},
    {"another": [{"a": 1, "inputs": [{}], "z": 2}]},
    {"another": {"a": 1, "inputs": [[{}], "z"]}},
    {"more": [{"x": 1}], "z": {"a": 1, "inputs": [{}], "b": 2}},
]


@pytest.mark.parametrize("more", UNKNOWN)
def test_parts_that_are_not_known_may_look_like_inputs(more: dict[str, Any], fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    give(folder, content_of(folder) | more)
    manifest = read_manifest(folder)
    assert manifest.content == content_of(folder)
    assert len(manifest.inputs) == 1
    for inputs in ([], 5, None):
        give(folder, content_of(folder) | {"inputs": inputs})
        assert (inputs == []) == is_read(folder)
    give(folder, {key: value for key, value in content_of(folder).items() if key != "inputs"})
    assert not is_read(folder)


def is_read(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except ShardError:
        return False
    return True


@cache
def texts() -> dict[str, bytes]:
    """Return texts in place of a list of inputs, none of which is the canonical JSON of one."""
    whole, one = canonical_json(records()), canonical_json([record(0)])
    last = canonical_json(record(MANY - 1))
    wrong = {
        "a negative size": {"size": -1},
        "a size beyond counts": {"size": 1 << 48},
        "a truth value for a number": {"index": True},
        "a fraction": {"size": 1.5},
        "no name": {"name": None},
        "a number for a digest": {"sha256": 5},
        "an unknown part": {"zzz": 1},
        "a list of objects": {"name": [{"a": 1}, {"a": 2}]},
        "no ranges": {"range_bytes": 0},
    }
    return {
        **{name: whole.replace(last, canonical_json(record(MANY - 1) | part)) for name, part in wrong.items()},
        "a part missing": whole.replace(last, b'{"index":1}'),
        "a number for an input": whole.replace(last, b"5"),
        "white space": whole.replace(last, last.replace(b":", b": ", 1)),
        "white space at the end": whole[:-1] + b" ]",
        "a comma at the end": whole[:-1] + b",]",
        "no comma": whole.replace(b"},{", b"}{"),
        "two commas": whole.replace(b"," + last, b",," + last),
        "another order": whole.replace(last, b'{"name":"a","index":1,"sha256":"a","size":1}'),
        "a part twice": whole.replace(last, last.replace(b'"index"', b'"index":1,"index"')),
        "another number": whole.replace(last, last.replace(b'"size":', b'"size":0')),
        "an escape": whole.replace(last, last.replace(b".txt", b"\\u002etxt")),
        "a lone surrogate": whole.replace(last, last.replace(b".txt", b"\\ud800")),
        "no UTF-8": whole.replace(last, last.replace(b".txt", b"\xff\xfe")),
        "no number": whole.replace(last, last.replace(b'"size":', b'"size":NaN,"size":')),
        "deep": whole.replace(last, b'{"index":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "two lists": one + b',"inputs":' + one,
        "an object": b'{"index":1}',
        "cut": whole[:-2],
    }


@pytest.mark.parametrize("name", texts())
def test_what_is_no_list_of_inputs_is_refused(name: str, fresh: Callable[[str], Path]) -> None:
    """Though every digest is that of the text."""
    folder = fresh("single")
    give_text(folder, texts()[name])
    with pytest.raises(ShardError, match=r"lacks or garbles a part|not canonical JSON|not JSON"):
        read_manifest(folder)


def test_a_part_that_is_no_input_is_told(fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    give_text(folder, texts()["a negative size"])
    with pytest.raises(ShardError, match=rf"index or size of '{MANY - 1:07}.txt' is no count"):
        read_manifest(folder)
    give(folder, content_of(folder) | {"inputs": 5})
    with pytest.raises(ShardError, match="'inputs' is no list"):
        read_manifest(folder)


def test_a_reader_that_takes_inputs_in_other_words_is_found(
    fresh: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence taken out: their JSON need not be canonical."""
    folder = fresh("single")
    give_text(folder, texts()["white space"])
    assert not is_read(folder)
    plant(monkeypatch, input_list, 'canonical_json(items) == b"[%b]" % block', "bool(items)")
    assert is_read(folder)
