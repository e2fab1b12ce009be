"""Models across to Hugging Face and back, as safetensors: a pickle runs code when it is read, so none is.

::

    DIR/config.json              BertConfig's fields
    DIR/model.safetensors        the encoder and MLM head under BERT's names; the decoder is the word embedding and not stored again
    DIR/sbo_head.safetensors     the span boundary head under the names of the paper's code: apart, since transformers has no place for it
    DIR/README.md                a card, if one is given
    DIR/vocab.txt …              the tokenizer (`spanmask.model.tokenizer_files`)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save

from spanmask.errors import ConfigError
from spanmask.folders import publish_folder, refuse_occupied
from spanmask.model.config import Objective, SpanBertConfig
from spanmask.model.fitting import build, read_tensors, require_finite, require_layers, require_shapes, shapes_of
from spanmask.model.naming import (
    BOUNDARY_NAMES,
    Shapes,
    State,
    bert_names,
    modern_names,
    their_shapes,
    to_ours,
    to_theirs,
)
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.model.tokenizer_files import FILES, tokenizer_files
from spanmask.tokenizer_folder import read_json
from spanmask.vocab import Vocabulary

CONFIG, MODEL, HEAD = "config.json", "model.safetensors", "sbo_head.safetensors"
_INDEX, _PICKLE, _CARD = "model.safetensors.index.json", "pytorch_model.bin", "README.md"
#: Every file of a model that others or we write.
MODEL_FILES = (CONFIG, MODEL, HEAD, _CARD, _INDEX, _PICKLE, *FILES)
_HEADS = {"mlm": "MLM head", "sbo": "span boundary head"}
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
#: What SpanBERT is fine-tuned with, whatever it was trained with (paper, appendix B).
_FINE_TUNING = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
#: What a BERT must be for our encoder to compute the same; a field left out has this value.
_REQUIRED: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A model built from a folder.

    Attributes
    ----------
    model
        As it was stored.
    initialised
        Our tensors that it lacked, drawn anew.
    unused
        Its tensors that have no place here.
    dropped
        Rows of its embedding beyond the vocabulary that was asked for.
    """

    model: SpanBertForPreTraining
    initialised: tuple[str, ...]
    unused: tuple[str, ...]
    dropped: int = 0

    @property
    def new_heads(self) -> tuple[str, ...]:
        """The heads that were drawn anew, by name; of one that was there in part, the tensors."""
        told = []
        for head, title in _HEADS.items():
            whole = [name for name in self.model.state_dict() if name.startswith(f"{head}.")]
            new = [name for name in whole if name in self.initialised]
            if new:
                told.append(title if new == whole else f"{title} ({', '.join(new)})")
        return tuple(told)


def export(
    model: SpanBertForPreTraining,
    folder: str | Path,
    vocabulary: Vocabulary,
    *,
    overwrite: bool = False,
    card: str | None = None,
) -> None:
    """Write a model so that transformers loads it, with its tokenizer, as float32.

    The folder appears whole or not at all.

    Parameters
    ----------
    model
        Of any dtype, on any device.
    folder
        It is new or empty, or holds a model.
    vocabulary
        What its ids mean.
    overwrite
        Replace a model that is there, once the new one is complete.
    card
        A text of Markdown about it.

    Raises
    ------
    ConfigError
        The vocabulary has another size, or the folder holds a model already, or anything else.
    MismatchError
        Another process is writing the folder.
    StorageError
        The file system refused.
    """
    folder, config = Path(folder), model.config
    if len(vocabulary) != config.vocab_size:
        raise ConfigError(
            f"vocabulary {vocabulary.name} has {len(vocabulary):,} entries, and the model {config.vocab_size:,}: "
            "give the one it was trained with"
        )
    state, text = model.state_dict(), json.dumps(_bert_config(config, vocabulary), indent=2, sort_keys=True)
    files = tokenizer_files(vocabulary, max_tokens=config.max_positions) | {CONFIG: text.encode()}
    if card is not None:
        files[_CARD] = card.encode()
    with publish_folder(
        folder, partial(refuse_occupied, folder, MODEL_FILES, "model's", overwrite=overwrite)
    ) as written:
        written.write_bytes(MODEL, saved(to_theirs(state, bert_names(config), config)))
        if model.sbo is not None:
            written.write_bytes(HEAD, saved(to_theirs(state, BOUNDARY_NAMES, config)))
        for name, data in files.items():
            written.write_bytes(name, data)


def saved(state: State) -> bytes:
    """Return the bytes of a safetensors file that transformers takes."""
    return save(state, metadata={"format": "pt"})


def _bert_config(config: SpanBertConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    fields = {theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()}
    ours = {
        **_FINE_TUNING,
        "architectures": ["BertForMaskedLM"],
        "dtype": "float32",
        "pad_token_id": vocabulary.special.pad,
    }
    return fields | _REQUIRED | ours


def load(folder: str | Path, **changes: Any) -> SpanBertForPreTraining:
    """Load a model with the heads that `export` wrote; a folder without a boundary head gives objective ``mlm``.

    Parameters
    ----------
    folder
        What `export` or transformers wrote.
    changes
        Fields of `SpanBertConfig` that config.json does not decide, such as ``attention``.

    Raises
    ------
    ConfigError
        A file is missing, broken or a pickle, or a tensor is missing or of another shape.
    StorageError
        The file system refused.
    """
    objective = Objective.MLM_SBO if (Path(folder) / HEAD).exists() else Objective.MLM
    imported = import_model(folder, objective=objective, **changes)
    if imported.initialised:
        raise ConfigError(
            f"{folder}: it lacks {', '.join(imported.initialised)}; start training from it instead (--init-from), which draws them anew"
        )
    return imported.model


def import_model(folder: str | Path, *, objective: Objective = Objective.MLM_SBO, **changes: Any) -> Imported:
    """Build a model from any BERT that transformers saved; heads that are not there are initialised from torch's global generator.

    Parameters
    ----------
    folder
        What transformers' ``save_pretrained`` or `export` wrote.
    objective
        Which heads the model shall have.
    changes
        Fields of `SpanBertConfig` to have instead of config.json's, such as ``hidden_dropout``; shapes are the folder's, but for a
        ``vocab_size`` below that of an embedding that was padded: the rows beyond it are dropped.

    Raises
    ------
    ConfigError
        A file is missing, broken or a pickle; it is no BERT, or one that computes otherwise; a tensor of the encoder is missing, or any is
        of another shape; the embedding has fewer rows than ``vocab_size``.
    StorageError
        The file system refused.
    """
    folder = Path(folder)
    theirs = modern_names(read_weights(folder))
    head = read_tensors(folder / HEAD) if (folder / HEAD).exists() else {}
    stored = _read_config(folder)
    config = _with_table(folder, stored.changed(objective=objective, **changes), head)
    dropped = stored.vocab_size - config.vocab_size
    if dropped < 0:
        raise ConfigError(
            f"{folder}: its embedding has {stored.vocab_size:,} rows, and the vocabulary {config.vocab_size:,} entries: give the model the "
            f"tokenizer it was trained with, or rows for all entries (transformers' resize_token_embeddings({config.vocab_size}))"
        )
    require_layers(folder, config.layers, theirs)
    shapes = shapes_of(config)
    names = bert_names(config) | (BOUNDARY_NAMES if objective is Objective.MLM_SBO else {})
    require_shapes(folder, theirs | head, their_shapes(shapes, names, stored.vocab_size), CONFIG)
    state = to_ours(theirs | head, names, config, dropped=dropped)
    initialised = _missing(folder, state, shapes)
    require_finite(folder, state)
    model = build(config)
    model.load_state_dict(state, strict=False)
    used = {part for parts in names.values() for part in parts} | {"cls.predictions.decoder.weight"}
    unused = tuple(sorted((theirs | head).keys() - used))
    return Imported(model=model, initialised=initialised, unused=unused, dropped=dropped)


def _missing(folder: Path, state: State, shapes: Shapes) -> tuple[str, ...]:
    """Return the names of the heads' tensors that are not in a state; one of the encoder that is not is refused."""
    missing = tuple(name for name in shapes if name not in state)
    encoder = [name for name in missing if name.startswith("encoder.")]
    if encoder:
        raise ConfigError(f"{folder}: it lacks {', '.join(encoder[:3])} ({len(encoder)} tensors); save the model again")
    return missing


def _read_config(folder: Path) -> SpanBertConfig:
    content = read_json(folder / CONFIG)
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


def _with_table(folder: Path, config: SpanBertConfig, head: State) -> SpanBertConfig:
    """Return the configuration with the offset table of a stored boundary head, if there is one."""
    name = "cls.pair_target_predictions.position_embeddings.weight"
    if name not in head:
        return config
    shape = tuple(head[name].shape)
    if len(shape) != 2:
        raise ConfigError(f"{folder / HEAD}: {name} has shape {shape}, expected a table; save the model again")
    return config.changed(max_span_offset=shape[0], span_offset_dim=shape[1])


def read_weights(folder: Path) -> State:
    """Return the tensors of ``model.safetensors``, or of the files that its index names.

    Raises
    ------
    ConfigError
        A file is missing, broken or a pickle.
    StorageError
        The file system refused.
    """
    if (folder / MODEL).exists():
        return read_tensors(folder / MODEL)
    if (folder / _INDEX).exists():
        return _read_parts(folder)
    if (folder / _PICKLE).exists():
        raise ConfigError(
            f"{folder}: it holds {_PICKLE} only, a pickle, which can run any code when it is read; "
            "save the model as safetensors where you trust it (transformers' save_pretrained does)"
        )
    there = f"no {MODEL} there" if folder.is_dir() else "no such folder"
    raise ConfigError(f"{folder}: {there}; give a folder that holds a BERT saved by transformers")


def _read_parts(folder: Path) -> State:
    places = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ConfigError(
            f"{folder / _INDEX}: its weight_map does not name a file for each tensor; save the model again"
        )
    state: State = {}
    for name in sorted(set(places.values())):
        if name != Path(name).name or not (folder / name).exists():
            raise ConfigError(
                f"{folder / _INDEX}: it names {name!r:.80}, which is no file beside it; copy the whole model again"
            )
        part = read_tensors(folder / name)
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise ConfigError(
                f"{folder / name}: {twice[0]} is in another of the model's files, too; save the model again"
            )
        state |= part
    return state
