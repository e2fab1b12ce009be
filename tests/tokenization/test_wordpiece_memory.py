"""No byte outside a text is read: texts against unreadable pages, and kernels that check every bound."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from children import run_child
from figures import figure
from tokenization.guarded_pages import PAGE

FOLDER = Path(__file__).parent
GUARDED = FOLDER / "guarded_pages.py"

needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="Windows protects pages by other calls")


def run_guarded(*arguments: str | int) -> int:
    """Return what `guarded_pages.py` prints, having lived."""
    result = run_child(GUARDED, *map(str, arguments))
    assert (result.returncode, result.stderr) == (0, "")
    return int(result.stdout)


@pytest.mark.slow
@needs_mprotect
@pytest.mark.parametrize(("casing", "specials"), [("cased", "parse"), ("uncased", "text")])
def test_texts_against_an_unreadable_page_are_encoded(casing: str, specials: str) -> None:
    assert run_guarded("encode", casing, specials, 0) == 201 * 5 * 2 * 2


@needs_mprotect
@pytest.mark.slow
@pytest.mark.parametrize(
    ("casing", "specials"),
    [("cased", "text"), ("uncased", "parse"), *figure([], [("cased", "parse"), ("uncased", "text")])],
)
def test_more_texts_against_an_unreadable_page_are_encoded(casing: str, specials: str) -> None:
    seeds = range(1, figure(2, 11))
    assert run_guarded("encode", casing, specials, *seeds) == len(seeds) * 201 * 5 * 2 * 2


@pytest.mark.slow
@needs_mprotect
def test_documents_with_lines_against_an_unreadable_page_are_tokenized() -> None:
    assert run_guarded("lines", "uncased", 0) == 201 * 9


@needs_mprotect
def test_texts_that_end_inside_a_character_before_an_unreadable_page_are_refused() -> None:
    assert run_guarded("refuse", "cased") == (1 + 2 + 3) * 70


@pytest.mark.slow
@needs_mprotect
@pytest.mark.parametrize(("place", "width"), [(PAGE, 1), (PAGE - 31, 32), (-1, 1)], ids=str)
def test_a_read_outside_a_text_kills_the_process(place: int, width: int) -> None:
    assert run_child(GUARDED, "touch", str(place), str(width)).returncode == -signal.SIGSEGV


@needs_mprotect
def test_a_read_of_all_that_lies_inside_does_not() -> None:
    assert run_guarded("touch", 0, PAGE) == PAGE


# --- Kernels that check bounds, and interpreted ones

#: Tests that are held by bounds-checked kernels too: every path, with its reads and writes.
CHECKED = [
    "test_wordpiece_exactness.py",
    "test_wordpiece_vocabularies.py",
    "test_wordpiece_specials.py",
    "test_wordpiece_sizes.py",
    "test_tokenizer_lines.py",
    "test_patterns.py",
    "test_added_tokens.py",
    "test_normalizing.py",
]

_A_LITTLE = """
from tokenization.reference import assert_as_library, reference_of, tokenizer_of
from tokenization.unicode_texts import ATOMS, random_texts
texts = ["".join(atoms) for atoms in ATOMS] + random_texts(40, seed=0) + ["The cat sat on the mat. " * 8, "", "x" * 101]
for casing in ("cased", "uncased"):
    for specials in ("text", "parse"):
        found = assert_as_library(tokenizer_of(casing), reference_of(casing), texts, specials)
print(len(found.token_ids))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bounds_checked_kernels_give_the_librarys_tokens() -> None:
    """A read or write out of bounds is an IndexError here; the wide loads are their plain twins."""
    result = run_child(
        *("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"),
        *(FOLDER / name for name in CHECKED),
        # Without tests of time, and without one whose texts others give the kernel too and whose oracle is slow.
        *("-k", "not takes_linear_time and not time_is_linear and not time_does_not_depend and not oracle_splits"),
        NUMBA_BOUNDSCHECK="1",
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert " passed" in result.stdout


@pytest.mark.slow
def test_compiled_twins_of_the_wide_loads_give_the_librarys_tokens() -> None:
    result = run_child("-c", _A_LITTLE, SPANMASK_PLAIN_LOADS="1")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 300


@pytest.mark.slow
def test_interpreted_kernels_give_the_librarys_tokens() -> None:
    result = run_child("-c", _A_LITTLE, NUMBA_DISABLE_JIT="1")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 300
