"""What holds for all tests: interrupts are answered, and figures that they measured are told at the end, whichever process they ran in."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

pytest_plugins = ["object_store"]


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore interrupts, nohup hang-ups, and so would what tests start.
    for number, answer in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, answer)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a line of figures, with the test's name, whether the test passes or not."""
    return lambda line: record_property("told", line)


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Add to how many faults a test tried, for the fault matrix; one that adds nothing tried one."""
    return lambda faults: record_property("tried", faults)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
    ]
    lines = sorted(
        {(report.nodeid, line) for report in reports for name, line in report.user_properties if name == "told"}
    )
    if lines:
        terminalreporter.section("figures")
    for test, line in lines:
        terminalreporter.line(f"{test}: {line}")
