"""The user's cache folder: what it holds can be made, or fetched, again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_folder() -> Path:
    """Return the user's cache folder for spanmask: $SPANMASK_CACHE_DIR, or the platform's place for it."""
    chosen = os.environ.get("SPANMASK_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "spanmask"


def is_own(folder: Path) -> bool:
    """Return whether nobody else can write to a folder."""
    state = folder.stat()
    return state.st_uid == os.getuid() and not state.st_mode & 0o022
