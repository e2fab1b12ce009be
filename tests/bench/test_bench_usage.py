"""What commands take is their own: whoever starts them may be as large as it likes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from spanmask_bench.usage import measure

MIB = 1 << 20


def python(code):
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.mark.slow
def test_the_peak_of_a_command_is_its_own_when_two_gigabytes_start_it():
    code = """
import json, sys
from spanmask_bench.usage import measure
held = b"x" * (2 << 30)
commands = [[sys.executable, "-I", "-S", "-c", code] for code in ("pass", "held = b'x' * (200 << 20)")]
print(json.dumps([measure(command).peak_bytes for command in commands]))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    small, large = json.loads(found)
    assert small < 32 * MIB
    assert 200 * MIB <= large < 220 * MIB


def test_the_largest_process_of_a_command_counts():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', 'b\"x\" * (100 << 20)'])"
    assert 100 * MIB < measure(python(code)).peak_bytes < 132 * MIB


def test_processor_seconds_are_those_of_the_command():
    assert 0.3 <= measure(python("import time\nwhile time.process_time() < 0.3: pass")).processor_seconds < 3


def test_exit_codes_and_signals_are_those_of_the_command():
    assert measure(python("raise SystemExit(3)")).code == 3
    assert measure(python("import os; os.kill(os.getpid(), 9)")).code == -9


def test_what_a_command_says_goes_where_it_is_sent(tmp_path):
    with (tmp_path / "said").open("w+") as said:
        measure(python("import sys; sys.stderr.write('this')"), stderr=said)
        said.seek(0)
        assert said.read() == "this"
