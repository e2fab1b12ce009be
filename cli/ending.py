"""How the command ends on an interrupt (Ctrl-C) or SIGTERM: with 128 and the signal's number, at any moment, and never with a traceback.

Python's own answer, an exception wherever the main thread happens to be, is right only while a command works: contexts are left, bars
and temporary files removed. While modules are imported, C code may turn it into another error; in a weak reference's callback it is
printed and lost; before and after the command nobody catches it. There the process leaves at once: what it wrote so far a later run
goes on from, as after SIGKILL, and its workers end with it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # As type checkers read it; importing `typing` would take longer than all else here.
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from types import FrameType
    from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: What ends a command that can end in order, and its exit code.
_ORDERLY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 0}
_IMPORTING = "<frozen importlib._bootstrap>"


#: What is told where the process leaves at once; emptied once it is told, or no longer true.
_last_words: list[str] = []


def leave_with(words: str = "") -> None:
    """Have these words be the last ones if a signal ends the command from here on."""
    _last_words[:] = [words] if words else []


def last_words() -> str:
    """Return the last words, which are then told."""
    return _last_words.pop() if _last_words else ""


def answer_signals() -> None:
    """Answer from now on until the process is gone; signals that whoever started it has it ignore stay ignored."""
    atexit.register(
        _answer, signal.SIG_IGN
    )  # The last to be called: then Python takes its modules down, and would die of a signal.
    sys.unraisablehook = _raised_in_vain
    _answer(_leave)


@contextmanager
def working() -> Iterator[None]:
    """Let the first signal unwind what is within, as an exception: KeyboardInterrupt or SystemExit."""
    try:
        _answer(_unwind)
        yield
    finally:
        leave_with()
        _answer(_leave)


class Request:
    """What signals ask of a command that can end in order.

    Parameters
    ----------
    words
        What is told when the first one comes.
    patience
        Seconds after which the command is unwound as by a signal that nobody notes; None: never.

    Attributes
    ----------
    code
        The exit code then; None until a signal comes.
    """

    def __init__(self, words: str = "ending after the update under way", patience: int | None = None) -> None:
        self.code: int | None = None
        self._words, self._patience, self._notes = words, patience, False
        # A terminal's interrupt reaches torchrun, too, which hands it on: it comes twice, and torchrun itself sees to an end.
        self._repeated = "TORCHELASTIC_RUN_ID" in os.environ
        if patience is None:
            _answer(self._note, signal.SIGUSR1)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM, as SIGUSR1 anyway, while the body runs, which looks at `code` every so often."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            _answer(self._note)
            yield
        finally:
            signal.alarm(0)
            for number, handler in before.items():
                _answer(handler, number)

    def note_within(self, stack: ExitStack) -> None:
        """Do as `noting` does from the first call on until a stack is left."""
        if not self._notes:
            self._notes = True
            stack.enter_context(self.noting())

    def unwind(self) -> NoReturn:
        """End as a signal that nobody notes does."""
        raise KeyboardInterrupt if self.code == _ORDERLY[signal.SIGINT] else SystemExit(self.code)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.code is not None and number in _SIGNALS and not self._repeated:
            _leave(number, frame)
        if self.code is None and os.environ.get("RANK", "0") == "0":
            _tell(self._words + "; once more ends it at once" * (not self._repeated))
        if self.code is None and self._patience is not None:
            signal.signal(signal.SIGALRM, lambda _, frame: _unwind(number, frame))
            signal.alarm(self._patience)
        self.code = _ORDERLY[signal.Signals(number)]


def _answer(handler: Any, *numbers: signal.Signals) -> None:
    for number in numbers or _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    _tell(last_words())
    os._exit(128 + number)


def _tell(words: str) -> None:
    """Print a line where Python's own streams may be in use; on a terminal below the ^C that stands in the line."""
    with suppress(OSError):
        if words:
            os.write(2, f"{chr(10) * os.isatty(2)}spanmask: {words}\n".encode())


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    _answer(_leave)
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            _leave(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _raised_in_vain(unraisable: Any) -> None:
    """Leave where an exception of `_unwind` met code that cannot raise, and would be printed and forgotten."""
    for number, kind in zip(_SIGNALS, (KeyboardInterrupt, SystemExit), strict=True):
        if unraisable.exc_type is kind:
            os._exit(128 + number)
    sys.__unraisablehook__(unraisable)
