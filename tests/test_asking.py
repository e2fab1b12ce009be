"""What is waited for is asked many at a time, and answered in order; inputs in an object store are looked at that way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from spanmask import PreshardConfig, drivers, remote
from spanmask.asking import in_order
from spanmask.config import Format
from spanmask.corpus import inputs
from spanmask.corpus.inputs import find_inputs
from spanmask.errors import CorpusError
from spanmask.presharding import planning


def test_answers_come_in_order_whoever_asks_and_what_waits_is_asked_at_once() -> None:
    here, gate = threading.get_ident(), threading.Barrier(32)

    def ask(number: int) -> tuple[int, bool]:
        if number % 2:
            gate.wait(10)
        return number, threading.get_ident() == here

    assert list(in_order(ask, range(128), lambda number: bool(number % 2))) == [(k, k % 2 == 0) for k in range(128)]
    assert list(in_order(ask, range(0, 100, 2), lambda _: False)) == [(k, True) for k in range(0, 100, 2)]
    assert list(in_order(ask, [], lambda _: True)) == []


def test_after_an_error_nothing_more_is_asked_and_nobody_is_waited_for() -> None:
    asked, ended = list[int](), threading.Event()

    def ask(number: int) -> int:
        asked.append(number)
        if number == 3:
            raise CorpusError("bad")
        if number > 3:
            ended.wait(30)
        return number

    answers, began = in_order(ask, range(10_000), lambda _: True), time.monotonic()
    try:
        assert [next(answers) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(CorpusError, match="bad"):
            next(answers)
        assert time.monotonic() - began < 10
        assert len(asked) <= 100
    finally:
        ended.set()


def _objects(name: str, data: bytes, count: int) -> list[str]:
    urls = [f"memory://asking/{name}".replace("#", f"{number:03}") for number in range(count)]
    for url in urls:
        remote.put(url, data)
    return urls


@pytest.fixture(autouse=True)
def _one_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver of memory:// tells times in two ways."""
    monkeypatch.setattr(drivers, "_PINS", ())


def _met(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have calls of a function go on when eight are under way."""
    ask: Callable[..., Any] = getattr(module, name)
    gate = threading.Barrier(8)

    def waited(*given: Any) -> Any:
        gate.wait(10)
        return ask(*given)

    monkeypatch.setattr(module, name, waited)


def test_the_first_bytes_of_objects_that_may_be_arrays_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = _objects("heads/#.json", b'[{"text": "a"}]', 8)
    remote.put(urls[3], b'{"text": "a"}\n')
    _met(monkeypatch, inputs, "_begins_array")
    found = [file.format for file in find_inputs(["memory://asking/heads"], Format.AUTO).files]
    assert found == [Format.JSON] * 3 + [Format.JSONL] + [Format.JSON] * 4


def test_the_headers_of_objects_are_looked_at_together_and_all_that_are_bad_are_told_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls = _objects("tables/#.csv", b"text\nhello\n", 16)
    _met(monkeypatch, planning, "divide")
    config = PreshardConfig.of(seed=1)
    files = find_inputs(["memory://asking/tables"], Format.AUTO).files
    assert [part.file.path for task in planning._tasks(files, config) for part in task.parts] == urls
    for number in (9, 2):
        remote.put(urls[number], b"other\nhello\n")
    files = find_inputs(["memory://asking/tables"], Format.AUTO).files
    with pytest.raises(CorpusError, match=r"(?s)2 inputs cannot be read.*002\.csv.*009\.csv"):
        list(planning._tasks(files, config))
