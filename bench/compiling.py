"""What compiling the kernels costs, and loading them from the cache; each function is run in a fresh process.

A first run less a second one, in the same process, is what compiling or loading took.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from . import child, tokenizer_files
from .protocol import seconds

#: Runs that between them reach every kernel of the command line's.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"vocab": "uncased", "segmentation": "sentence", "sampler": "reference", "holdout": 0.5},
    {"scheme": "word", "random_ids": "unigram"},
    {"scheme": "token", "mask_epoch": 1},
    {"scheme": "annotated", "spans_field": "spans", "words_field": "words"},
    *({"vocab": kind} for kind in tokenizer_files.KINDS),
)
_SENTENCE = "The unfathomable cat sat on the mat, and nobody told the cat that it sat on the mat. "


def with_caches(function: str) -> dict[str, dict[str, float]]:
    """Return what a function of this module finds where the kernel cache is empty (``cold``), and filled by that (``warm``)."""
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        environment = {"SPANMASK_CACHE_DIR": folder}
        return {state: child.call("compiling", function, {}, environment) for state in ("cold", "warm")}


def first_call() -> dict[str, float]:
    """Return seconds of importing spanmask's masking, and of masking one sequence of eight tokens."""
    return {"import": seconds(_import), "first_call": seconds(_mask)}


def _import() -> None:
    import spanmask.masking  # noqa: F401


def _mask() -> None:
    import numpy as np

    import spanmask

    spanmask.mask(np.full(8, 1000, np.uint16), np.array([0, 8]), spanmask.MaskingConfig(seed=1))


def everything() -> dict[str, float]:
    """Return seconds of importing what presharding needs, and of compiling or loading: for a preshard, and for all kernels."""
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        sources = _corpus(Path(folder))
        imported = seconds(_import_all)
        numbers = iter(range(1000))

        def first_less_second(variants: tuple[dict[str, Any], ...]) -> float:
            first, second = (
                seconds(lambda: _run(variants, sources, Path(folder, str(next(numbers))))) for _ in range(2)
            )
            return first - second

        of_preshard = first_less_second(VARIANTS[:1])
        return {"import": imported, "preshard": of_preshard, "everything": of_preshard + first_less_second(VARIANTS)}


def _import_all() -> None:
    import spanmask.presharding.run
    import spanmask.shard.verify  # noqa: F401


def _corpus(folder: Path) -> list[Path]:
    """Write a few sentences as JSONL, with spans and words, and as text; and a small tokenizer.json of every kind."""
    line = json.dumps({"text": _SENTENCE * 3, "spans": [[4, 20]], "words": [0, 4, 21]})
    jsonl, text = folder / "tiny.jsonl", folder / "tiny.txt"
    jsonl.write_text(f"{line}\n" * 8, "utf-8")
    text.write_text(f"{_SENTENCE}\n{_SENTENCE}\n\n" * 8, "utf-8")
    for kind in tokenizer_files.KINDS:
        (folder / f"{kind}.json").write_text(tokenizer_files.train(kind, [_SENTENCE]), "utf-8")
    return [jsonl, text]


def _run(variants: tuple[dict[str, Any], ...], sources: list[Path], out: Path) -> None:
    import spanmask

    for number, options in enumerate(variants):
        folder = out / str(number)
        used = sources[:1] if "words_field" in options else sources
        vocab = options.get("vocab", "cased")
        if vocab in tokenizer_files.KINDS:
            vocab = str(sources[0].with_name(f"{vocab}.json"))
        spanmask.preshard(used, folder, spanmask.PreshardConfig.of(seed=1, **{**options, "vocab": vocab}), jobs=1)
        if len(variants) > 1:
            _look_at(folder, used, vocab)


def _look_at(folder: Path, sources: list[Path], vocab: str) -> None:
    """Verify, compare with the source, replay, and tokenize with offsets."""
    import spanmask
    from spanmask.presharding.comparing import verify_source

    found = [*spanmask.verify(folder).findings, *verify_source(folder, sources, jobs=1)]
    if found:
        raise AssertionError(f"{folder.name}: {found[0].message}")
    spanmask.audit(folder)
    spanmask.Tokenizer(vocab).encode([_SENTENCE], offsets=True)
