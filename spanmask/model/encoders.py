"""An encoder without heads, and the vocabulary it was trained with, as fine-tuning begins from; a pooler where a task needs one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from spanmask.model.bert_folder import read_bert
from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import SpanBertEncoder
from spanmask.model.finetuning import Pooler
from spanmask.model.fitting import module_shapes, require_memory, require_whole
from spanmask.model.naming import POOLER_NAMES, TOKEN_TYPES, State, encoder_names
from spanmask.vocab import Vocabulary

#: Token types of a pair, which BERTs that read one text at a time need not have.
_TYPES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEncoder:
    """An encoder to fine-tune.

    Attributes
    ----------
    encoder
        On the host in float32.
    pooler
        If one was asked for.
    vocabulary
        What ids mean.
    initialised
        Our tensors that were not there, or not whole, drawn from torch's global generator.
    unused
        Tensors that were there and have no place here, such as those of other heads.
    """

    encoder: SpanBertEncoder
    pooler: Pooler | None
    vocabulary: Vocabulary
    initialised: tuple[str, ...]
    unused: tuple[str, ...]


def read_encoder(folder: str | Path, vocabulary: Vocabulary, *, pooler: bool = False, **changes: Any) -> LoadedEncoder:
    """Load the encoder of any BERT that transformers saved, or that we exported.

    Parameters
    ----------
    folder
        What holds it.
    vocabulary
        Its tokenizer's; rows of the embedding beyond it are dropped.
    pooler
        Whether a pooler is wanted.
    changes
        Fields of `SpanBertConfig` to have instead of config.json's, such as ``hidden_dropout``; shapes are the folder's.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors; it is no BERT, or one that computes otherwise; a tensor is missing, of another
        shape or not finite; the embedding has fewer rows than the vocabulary.
    StorageError
        The file system refused.
    """
    stored = read_bert(folder)
    config = stored.config.changed(vocab_size=len(vocabulary), **changes)
    stored.require(config)
    names = encoder_names(config) | (POOLER_NAMES if pooler else {})
    state = stored.fitted(config, names, module_shapes(lambda: _Body(config, pooler=pooler)))
    drawn_anew = {TOKEN_TYPES, *POOLER_NAMES}
    require_whole(folder, [name for name in names if name not in state and name not in drawn_anew])
    unused = tuple(sorted(stored.tensors.keys() - {part for parts in names.values() for part in parts}))
    return assembled(state, config, vocabulary, pooler=pooler, unused=unused)


def assembled(
    state: State, config: SpanBertConfig, vocabulary: Vocabulary, *, pooler: bool, unused: tuple[str, ...] = ()
) -> LoadedEncoder:
    """Return the encoder, and pooler, of a state of our names; what it lacks of the pooler and of token types is drawn anew.

    Raises
    ------
    ConfigError
        This machine has less memory than its weights need.
    """
    config = config.changed(type_vocab=max(config.type_vocab, _TYPES))
    require_memory(config, module_shapes(lambda: _Body(config, pooler=pooler)))
    body, initialised = _Body(config, pooler=pooler), []
    for name, tensor in body.state_dict().items():
        found = state.get(name, tensor[:0])
        tensor[: len(found)].copy_(found)
        if len(found) < len(tensor):
            initialised.append(name)
    return LoadedEncoder(
        encoder=body.encoder, pooler=body.pooler, vocabulary=vocabulary, initialised=tuple(initialised), unused=unused
    )


class _Body(nn.Module):
    """What a task's head stands on, under the names that its tensors have in `spanmask.model.finetuning.FineTuned`."""

    def __init__(self, config: SpanBertConfig, *, pooler: bool) -> None:
        super().__init__()
        self.encoder, self.pooler = SpanBertEncoder(config), Pooler(config) if pooler else None
