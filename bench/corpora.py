"""One text as the files that `presharding` measures on: compressed, plain, in parts, and the first of it for slow peers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import texts
from .protocol import MEGABYTE

#: Files that the text is divided into, each with documents from all over it.
PARTS = 8
#: Documents of the smallest corpus, which shows what starting takes.
_TINY = 2


def prepare(*, paths: list[str], folder: str, megabytes: float, peer_megabytes: float) -> dict[str, Any]:
    """Write the files.

    Parameters
    ----------
    paths
        Inputs, as `texts.read` takes them.
    folder
        Gets ``all.jsonl.zst``, ``all.txt``, ``parts/0.jsonl.zst`` and so on, ``peer.jsonl.zst``, ``peer.txt`` and ``tiny.jsonl.zst``.
    megabytes, peer_megabytes
        Of text at most, in all and for the peer.

    Returns
    -------
    dict
        ``all``: what the text is, as `texts.read` says. ``peer``: documents and bytes of the first of it.
    """
    target = Path(folder)
    text = texts.read(paths, int(megabytes * MEGABYTE))
    part = texts.first(text.documents, int(peer_megabytes * MEGABYTE))
    (target / "parts").mkdir()
    for name, documents in (("all", text.documents), ("peer", part)):
        _write_jsonl(target / f"{name}.jsonl.zst", documents)
        (target / f"{name}.txt").write_text("\n\n".join(documents) + "\n", "utf-8", newline="\n")
    for number in range(min(PARTS, len(text.documents))):
        _write_jsonl(target / "parts" / f"{number}.jsonl.zst", text.documents[number::PARTS])
    _write_jsonl(target / "tiny.jsonl.zst", text.documents[:_TINY])
    return {
        "all": text.described,
        "peer": {"documents": len(part), "bytes": sum(len(document.encode()) for document in part)},
    }


def _write_jsonl(path: Path, documents: Sequence[str]) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        for number, document in enumerate(documents):
            file.write(f"{json.dumps({'id': number, 'text': document}, ensure_ascii=False)}\n".encode())
