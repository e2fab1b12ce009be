"""Files of JSON objects, one a line: what a run tells as it goes on. Read without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.storage import publish_bytes, reporting, require_file


class JsonLines:
    """A file of JSON objects, one a line, each with a step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line.

        Raises
        ------
        StorageError
            The file system refused.
        """
        with reporting(self.path, "write"), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, none where there is no file.

        Raises
        ------
        ConfigError
            A line other than the last, which a killed writer may have left unfinished, is no object with a step.
        """
        if not self.path.exists():
            return []
        require_file(self.path)
        with reporting(self.path, "read"):
            texts = self.path.read_text("utf-8", "replace").splitlines()
        lines = []
        for number, text in enumerate(texts, start=1):
            try:
                line = json.loads(text)
                if type(line["step"]) is int:
                    lines.append(line)
                    continue
            except (ValueError, TypeError, KeyError, RecursionError):
                pass
            if number < len(texts):
                raise ConfigError(f"{self.path}:{number}: no JSON object with a step; remove the line, or the file")
        return lines

    def cut(self, step: int) -> None:
        """Leave out what comes after a step: a run that goes on from there writes it again."""
        if self.path.exists():
            kept = [line for line in self.read() if line["step"] <= step]
            publish_bytes(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
