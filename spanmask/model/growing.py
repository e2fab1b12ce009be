"""A model's folder with rows for more entries: each row is the mean of those that its text had before, everything else stays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from spanmask.model.bert_folder import CONFIG, HEAD, MODEL, publish_model, read_weights
from spanmask.model.convert import import_model
from spanmask.model.fitting import read_tensors
from spanmask.model.naming import State
from spanmask.tokenizer_folder import read_json
from spanmask.vocab import Vocabulary

#: How the names of tensors end that have a row, or a number, for each entry.
_BY_ENTRY = (
    "embeddings.word_embeddings.weight",
    "predictions.bias",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
)


def require_model(folder: Path, entries: int) -> None:
    """Refuse a folder without a BERT that has a row for each of so many entries; what it raises is `import_model`'s."""
    import_model(folder, objective=None, vocab_size=entries)


def grow_model(
    folder: Path, out: Path, vocabulary: Vocabulary, parts: Sequence[Sequence[int]], *, overwrite: bool = False
) -> None:
    """Write a model's folder anew with a vocabulary that was added to at its end; the folder appears whole or not at all.

    Rows beyond the old entries, which padded embeddings have, go. Tensors that no encoder here has stay, and so does every dtype.

    Parameters
    ----------
    folder
        What `export` or transformers wrote; see `require_model`.
    out
        It is new or empty, or holds a model.
    vocabulary
        The old entries under their ids, and the new ones behind them.
    parts
        For each new entry, the old ids that its text had.
    overwrite
        Replace a model that is there, once the new one is complete.

    Raises
    ------
    ConfigError
        The folder to write holds a model already, or anything else; a file of the old one is missing or broken.
    MismatchError
        Another process is writing the folder.
    StorageError
        The file system refused.
    """
    old = len(vocabulary) - len(parts)
    content = read_json(folder / CONFIG) | {"vocab_size": len(vocabulary)}
    states = {MODEL: _grown(read_weights(folder), old, parts)}
    if (folder / HEAD).exists():
        states[HEAD] = _grown(read_tensors(folder / HEAD), old, parts)
    publish_model(out, vocabulary, content, states, overwrite=overwrite)


def _grown(state: State, old: int, parts: Sequence[Sequence[int]]) -> State:
    return {
        name: _with_means(tensor[:old], parts) if name.endswith(_BY_ENTRY) else tensor for name, tensor in state.items()
    }


def _with_means(rows: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
    """Return rows, (V, H) or (V,), with the mean of some of them behind them for each of the parts."""
    places = torch.tensor(list(chain.from_iterable(parts)))
    starts = torch.tensor([0, *accumulate(map(len, parts[:-1]))])
    means = functional.embedding_bag(places, rows.float().reshape(len(rows), -1), starts, mode="mean")
    return torch.cat([rows, means.reshape(-1, *rows.shape[1:]).to(rows.dtype)])
