"""What runs first of the `spanmask` command. It imports next to nothing until it answers to signals: before that, Python itself does."""

from __future__ import annotations

import gc
import os
import sys

from . import ending, streams


def run() -> None:
    """Run the command line and exit. From here on an interrupt at any moment ends it with 130, and SIGTERM with 143."""
    ending.answer_signals()
    # NumPy would start threads for products of matrices, of which no command needs any; and a process of one thread can be forked.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    streams.prepare_streams()
    try:
        from .commands import main
    except OSError as error:
        sys.stderr.write(f"spanmask: could not begin ({error.strerror})\n")
        sys.exit(4)
    code = main()
    # What is left goes with the process: Python would look through all of it for what nobody holds, for a tenth of a second.
    gc.freeze()
    sys.exit(code)
