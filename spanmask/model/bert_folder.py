"""A folder that holds a BERT as Hugging Face has it: its files' names, ``config.json`` both ways, its tensors, and how one is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save

from spanmask.errors import ConfigError
from spanmask.folders import publish_folder, refuse_occupied
from spanmask.model.config import SpanBertConfig
from spanmask.model.fitting import read_tensors, require_finite, require_layers, require_shapes
from spanmask.model.naming import Names, Shapes, State, modern_names, their_shapes, to_ours
from spanmask.model.pickled_weights import read_pickled
from spanmask.model.tokenizer_files import FILES, tokenizer_files
from spanmask.tokenizer_folder import read_json
from spanmask.vocab import Vocabulary

CONFIG, MODEL, HEAD = "config.json", "model.safetensors", "sbo_head.safetensors"
_PICKLE, CARD = "pytorch_model.bin", "README.md"
#: Where weights may lie, the first of those that are there being read: each with what reads it, or each of the files that its index names.
_WEIGHTS: dict[str, Callable[[Path], State]] = {MODEL: read_tensors, _PICKLE: read_pickled}
_INDEX = ".index.json"
#: Every file of a model that others or we write.
MODEL_FILES = (CONFIG, MODEL, HEAD, CARD, f"{MODEL}{_INDEX}", _PICKLE, *FILES)
#: BertConfig's names of our fields.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "type_vocab",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
#: What a BERT must be for our encoder to compute the same; a field left out has this value.
_REQUIRED: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True)
class StoredBert:
    """What a folder holds.

    Attributes
    ----------
    folder
        Where it lies.
    content
        Its ``config.json``.
    config
        The shape that this tells.
    tensors
        By BERT's names of today, those of a span boundary head by the paper's.
    """

    folder: Path
    content: Mapping[str, Any]
    config: SpanBertConfig
    tensors: State

    def require(self, config: SpanBertConfig) -> None:
        """Refuse a vocabulary with more entries than there are rows, and layers that cannot be there.

        Raises
        ------
        ConfigError
            They are asked for.
        """
        rows = self.config.vocab_size
        if rows < config.vocab_size:
            raise ConfigError(
                f"{self.folder}: its embedding has {rows:,} rows, and the vocabulary {config.vocab_size:,} entries: give the model the "
                f"tokenizer it was trained with, or rows for all entries (transformers' resize_token_embeddings({config.vocab_size}))"
            )
        require_layers(self.folder, config.layers, self.tensors)

    def fitted(self, config: SpanBertConfig, names: Names, shapes: Shapes) -> State:
        """Return the named tensors that are there, under our names.

        Parameters
        ----------
        config
            What they are for; it may have fewer entries than the embedding has rows, and the last rows are dropped.
        names
            Theirs for each of ours.
        shapes
            Of ours.

        Raises
        ------
        ConfigError
            One is of another shape, no float, or not finite.
        """
        rows = self.config.vocab_size
        wanted = {ours: shapes[ours] for ours in names}
        require_shapes(self.folder, self.tensors, their_shapes(wanted, names, rows), CONFIG)
        state = to_ours(self.tensors, names, config, dropped=rows - config.vocab_size)
        require_finite(self.folder, state)
        return state


def read_bert(folder: str | Path) -> StoredBert:
    """Read what transformers' ``save_pretrained`` of any time or we wrote, the span boundary head beside it left aside.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors; it is no BERT, or one that computes otherwise.
    StorageError
        The file system refused.
    """
    folder = Path(folder)
    tensors = modern_names(read_weights(folder))
    content = read_json(folder / CONFIG)
    return StoredBert(folder, content, _config_of(folder, content), tensors)


def _config_of(folder: Path, content: Mapping[str, Any]) -> SpanBertConfig:
    for name, wanted in _REQUIRED.items():
        if content.get(name, wanted) != wanted:
            raise ConfigError(
                f"{folder / CONFIG}: {name} is {content[name]!r}, expected {wanted!r}: the encoder here computes nothing else"
            )
    missing = [name for name in ("vocab_size", "hidden_size", "num_hidden_layers") if name not in content]
    if missing:
        raise ConfigError(f"{folder / CONFIG}: it lacks {', '.join(missing)}; save the model again")
    try:
        return SpanBertConfig.from_json(
            {ours: content[theirs] for theirs, ours in _FIELDS.items() if theirs in content}
        )
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG}: {error}") from None


def holds_weights(folder: Path) -> bool:
    """Return whether a folder has a file that `read_weights` looks for."""
    return any((folder / f"{name}{end}").exists() for name in _WEIGHTS for end in ("", _INDEX))


def read_weights(folder: Path) -> State:
    """Return the tensors of ``model.safetensors``, or else of ``pytorch_model.bin``, or of the files that an index of one of them names.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors.
    StorageError
        The file system refused.
    """
    for name, read in _WEIGHTS.items():
        if (folder / name).exists():
            return read(folder / name)
        if (folder / f"{name}{_INDEX}").exists():
            return _read_parts(folder / f"{name}{_INDEX}", read)
    there = f"no {' or '.join(_WEIGHTS)} there" if folder.is_dir() else "no such folder"
    raise ConfigError(f"{folder}: {there}; give a folder that holds a BERT saved by transformers")


def _read_parts(index: Path, read: Callable[[Path], State]) -> State:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ConfigError(f"{index}: its weight_map does not name a file for each tensor; save the model again")
    state: State = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        if name != Path(name).name or not path.exists():
            raise ConfigError(f"{index}: it names {name!r:.80}, which is no file beside it; copy the whole model again")
        part = read(path)
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise ConfigError(f"{path}: {twice[0]} is in another of the model's files, too; save the model again")
        state |= part
    return state


def bert_config(config: SpanBertConfig, vocabulary: Vocabulary, **others: Any) -> dict[str, Any]:
    """Return what ``config.json`` says of a model. others: fields to have beside."""
    fields = {theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()}
    return fields | _REQUIRED | {"dtype": "float32", "pad_token_id": vocabulary.special.pad} | others


def publish_model(
    folder: Path,
    vocabulary: Vocabulary,
    content: Mapping[str, Any],
    states: Mapping[str, State],
    *,
    card: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a folder that appears whole or not at all.

    Parameters
    ----------
    folder
        It is new or empty, or holds a model.
    vocabulary
        What ids mean.
    content
        ``config.json``.
    states
        Tensors by the file they go to.
    card
        A text of Markdown about the model.
    overwrite
        Replace a model that is there, once the new one is complete.

    Raises
    ------
    ConfigError
        The vocabulary has another size, or the folder holds a model already, or anything else.
    MismatchError
        Another process is writing the folder.
    StorageError
        The file system refused.
    """
    size = content["vocab_size"]
    if len(vocabulary) != size:
        raise ConfigError(
            f"vocabulary {vocabulary.name} has {len(vocabulary):,} entries, and the model {size:,}: "
            "give the one it was trained with"
        )
    # What others wrote may leave it out, where BertConfig has 512.
    files = model_files(vocabulary, content, max_tokens=content.get("max_position_embeddings", 512), card=card)
    publish_files(folder, files, states, overwrite=overwrite)


def model_files(
    vocabulary: Vocabulary, content: Mapping[str, Any], *, max_tokens: int, card: str | None = None
) -> dict[str, bytes]:
    """Return the files of a model beside its tensors by name: those of its tokenizer, ``config.json``, and its card if there is one."""
    files = {
        **tokenizer_files(vocabulary, max_tokens=max_tokens),
        CONFIG: json.dumps(content, indent=2, sort_keys=True).encode(),
    }
    if card is not None:
        files[CARD] = card.encode()
    return files


def publish_files(
    folder: Path, files: Mapping[str, bytes], states: Mapping[str, State], *, overwrite: bool = False
) -> None:
    """Write a model's folder of files and tensors by file, as `publish_model` does, which says what it raises."""
    with publish_folder(
        folder, partial(refuse_occupied, folder, MODEL_FILES, "model's", overwrite=overwrite)
    ) as written:
        for name, state in states.items():
            # The mark of torch, which transformers looks for.
            written.write_bytes(name, save(state, metadata={"format": "pt"}))
        for name, data in files.items():
            written.write_bytes(name, data)
