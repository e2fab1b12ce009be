"""A folder with a masked language model of transformers: read without running its code, built, and written.

::

    DIR/config.json              what transformers calls the architecture, and its sizes
    DIR/model.safetensors        its tensors by transformers' names, those that are tied once; without it weights are drawn by the seed
    DIR/sbo_head.safetensors     the span boundary head, under the names of the paper's code
    DIR/tokenizer.json …         the tokenizer (`spanmask.model.tokenizer_files`); without weights it need not be there
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING
from transformers.utils import logging

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.model.backbone import BackboneForPreTraining, first_position
from spanmask.model.backbone_trial import wrapped
from spanmask.model.bert_folder import CONFIG, HEAD, MODEL, holds_weights, model_files, publish_files, read_weights
from spanmask.model.config import Attention, Objective, SpanBertConfig
from spanmask.model.fitting import (
    module_shapes,
    read_tensors,
    require_finite,
    require_memory,
    require_shapes,
    require_whole,
)
from spanmask.model.naming import BOUNDARY_NAMES, Shapes, State
from spanmask.model.tokenizer_files import as_tokenizer_json, read_tokenizer
from spanmask.tokenizer_folder import TOKENIZER, read_json
from spanmask.vocab import Vocabulary

#: What a configuration may say that is of no part of a model here, or of how it is called.
_IGNORED = ("auto_map", "return_dict", "use_return_dict", "torchscript", "output_hidden_states", "output_attentions")
_SPARE = 128

Content = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunBackbone:
    """A model built from a folder.

    Attributes
    ----------
    model
        On the host in float32.
    content
        The configuration that builds it again.
    batches
        How its batches are made, and why.
    new_heads
        Heads that were not there and were drawn anew, by name; where there were no weights at all, none.
    """

    model: BackboneForPreTraining
    content: Content
    batches: str
    new_heads: tuple[str, ...] = ()


def begin_backbone(
    folder: str | Path,
    vocabulary: Vocabulary,
    *,
    objective: Objective = Objective.MLM_SBO,
    max_span_offset: int | None = None,
) -> BegunBackbone:
    """Build the model of a folder for a vocabulary: with its weights, or without any, from torch's global generator.

    Parameters
    ----------
    folder
        What transformers saved, or a ``config.json`` alone, whose special ids then become the vocabulary's.
    vocabulary
        What ids mean; with weights, it must be that of the folder's tokenizer.
    objective
        Which heads the model shall have.
    max_span_offset
        Of the span boundary head, where none lies beside the model. [20]

    Raises
    ------
    ConfigError
        A file is missing or broken; transformers has no such masked language model; a part of it that training needs is missing.
    MismatchError
        The folder's tokenizer has another vocabulary.
    StorageError
        The file system refused.
    """
    folder = Path(folder)
    content, trained = _content_of(folder), holds_weights(folder)
    if trained:
        _require_vocabulary(folder, content, vocabulary)
    else:
        special = vocabulary.special
        ids = {"pad": special.pad, "bos": special.cls, "eos": special.sep, "cls": special.cls, "sep": special.sep}
        content |= {f"{role}_token_id": number for role, number in ids.items()}
    head = read_tensors(folder / HEAD) if (folder / HEAD).exists() and objective.sbo else {}
    table = _table_of(folder, head, max_span_offset)
    shape = shape_of(content, folder / CONFIG, vocab_size=len(vocabulary), objective=objective, **table)
    state = read_weights(folder) if trained else None
    backbone, lost = (
        _drawn(content, shape, folder / CONFIG) if state is None else _loaded(content, shape, folder, state)
    )
    model, batches = wrapped(backbone, shape, str(folder))
    if head:
        _put_head(model, folder / HEAD, head)
    new = [
        *(["MLM head"] if lost else []),
        *(["span boundary head"] if trained and model.sbo is not None and not head else []),
    ]
    return BegunBackbone(model=model, content=content, batches=batches, new_heads=tuple(new))


def build_backbone(content: Content, shape: SpanBertConfig, where: str | Path) -> tuple[BackboneForPreTraining, str]:
    """Return the model of a configuration, its weights drawn from torch's global generator, and how its batches are made.

    where: what states the configuration, for messages.

    Raises
    ------
    ConfigError
        Transformers cannot build it, or a part is missing.
    """
    return wrapped(_drawn(content, shape, Path(where))[0], shape, str(where))


def backbone_shapes(content: Content, shape: SpanBertConfig, where: str | Path) -> tuple[Shapes, tuple[str, ...]]:
    """Return the shapes of a model's tensors by name, and the names of those that training changes, without memory for any.

    Raises
    ------
    ConfigError
        Transformers cannot build it.
    """
    made: list[BackboneForPreTraining] = []

    def make() -> BackboneForPreTraining:
        made.append(BackboneForPreTraining(_made(content, Path(where)), shape))
        return made[-1]

    shapes = module_shapes(make)
    return shapes, tuple(name for name, _ in made[0].named_parameters())


def shape_of(content: Content, where: Path, **fields: Any) -> SpanBertConfig:
    """Return the shape that a configuration tells. fields: those of ours that it does not.

    Raises
    ------
    ConfigError
        It lacks a size, or one cannot be used.
    """
    config = _config_of(content, where)
    names = {
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "max_positions": "max_position_embeddings",
    }
    sizes: dict[str, Any] = {ours: getattr(config, theirs, None) for ours, theirs in names.items()}
    missing = [names[ours] for ours, value in sizes.items() if not isinstance(value, int)]
    if missing:
        raise ConfigError(
            f"{where}: {type(config).__name__} lacks {', '.join(missing)}: give another architecture, such as RoBERTa's"
        )
    sizes["intermediate"] = getattr(config, "intermediate_size", 4 * sizes["hidden"])
    try:
        shape = SpanBertConfig.of(
            **sizes, attention=Attention.SDPA, hidden_dropout=0.0, attention_dropout=0.0, **fields
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    _require_rows(config, shape, where)
    with torch.device("meta"):
        first = first_position(_built(config, where))
    return shape.changed(max_positions=shape.max_positions - first)


def load_backbone(folder: str | Path) -> BackboneForPreTraining:
    """Load a masked language model of transformers, and the span boundary head where one lies beside it.

    Raises
    ------
    ConfigError
        A file is missing, broken or a pickle; a tensor is missing or of another shape; it cannot be used here.
    StorageError
        The file system refused.
    """
    folder = Path(folder)
    if not holds_weights(folder):
        raise ConfigError(f"{folder}: no {MODEL} there; give a folder that holds a model with its weights")
    objective = Objective.MLM_SBO if (folder / HEAD).exists() else Objective.MLM
    begun = begin_backbone(folder, read_tokenizer(folder), objective=objective)
    if begun.new_heads:
        raise ConfigError(f"{folder}: it lacks the {' and the '.join(begun.new_heads)}; train it first (--backbone)")
    return begun.model


def export_backbone(
    model: BackboneForPreTraining,
    folder: str | Path,
    vocabulary: Vocabulary,
    *,
    overwrite: bool = False,
    card: str | None = None,
) -> None:
    """Write a model as transformers saves it, its tokenizer and the span boundary head beside it; it appears whole or not at all.

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
        The folder holds a model already, or anything else.
    MismatchError
        Another process is writing the folder.
    StorageError
        The file system refused.
    """
    backbone = model.backbone
    content = json.loads(backbone.config.to_json_string())
    content |= {"architectures": [type(backbone).__name__], "dtype": "float32"}
    files = model_files(vocabulary, content, max_tokens=model.config.max_positions, card=card)
    files[TOKENIZER] = as_tokenizer_json(vocabulary).encode()
    state = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in model.state_dict().items()}
    prefix = "backbone."
    states = {MODEL: {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}}
    if model.sbo is not None:
        states[HEAD] = {theirs: state[ours] for ours, (theirs,) in BOUNDARY_NAMES.items()}
    publish_files(Path(folder), files, states, overwrite=overwrite)


def _content_of(folder: Path) -> Content:
    """Return what a folder's ``config.json`` says of a model."""
    if not (folder / CONFIG).exists():
        there = f"no {CONFIG} there" if folder.is_dir() else "no such folder"
        raise ConfigError(f"{folder}: {there}; give a folder with the {CONFIG} of a masked language model")
    content = read_json(folder / CONFIG)
    kind, version = content.get("model_type"), transformers.__version__
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = (
            "; its auto_map names code of its own, and code in a model's folder is never run"
            if "auto_map" in content
            else ""
        )
        raise ConfigError(
            f"{folder / CONFIG}: model_type is {kind!r:.80}, which transformers {version} does not have{code}: give an architecture "
            "that it has, such as roberta"
        )
    if "quantization_config" in content:
        raise ConfigError(
            f"{folder / CONFIG}: the model is quantized (quantization_config), and training needs float weights"
        )
    if "auto_map" in content:
        warnings.warn(
            f"{folder / CONFIG}: its auto_map names code, which is never run: the model is transformers' own {kind}",
            stacklevel=4,
        )
    return {name: value for name, value in content.items() if name not in _IGNORED}


def _require_vocabulary(folder: Path, content: Content, vocabulary: Vocabulary) -> None:
    found = read_tokenizer(folder)
    if found.sha256 != vocabulary.sha256:
        raise MismatchError(
            f"{folder}: its vocabulary hashes to {short_digest(found.sha256)}, that of the dataset to {short_digest(vocabulary.sha256)}: "
            "preshard the text with the model's own tokenizer (--vocab), or leave the weights out to begin from nothing"
        )
    padding = content.get("pad_token_id", vocabulary.special.pad)
    if padding not in (None, vocabulary.special.pad):
        raise ConfigError(
            f"{folder / CONFIG}: pad_token_id is {padding!r:.80}, and its tokenizer's {vocabulary.special.pad}: save the model again"
        )


def _require_rows(config: Any, shape: SpanBertConfig, where: Path) -> None:
    rows = config.vocab_size
    if not shape.vocab_size <= rows:
        raise ConfigError(
            f"{where}: vocab_size is {rows:,}, and the vocabulary has {shape.vocab_size:,} entries: set it to that, "
            "or preshard with the model's own tokenizer (--vocab)"
        )
    if rows >= shape.vocab_size + _SPARE:
        warnings.warn(
            f"{where}: vocab_size is {rows:,}, and the vocabulary has {shape.vocab_size:,} entries: the last "
            f"{rows - shape.vocab_size:,} rows are never predicted",
            stacklevel=5,
        )


def _table_of(folder: Path, head: State, wanted: int | None) -> dict[str, int]:
    """Return the sizes of the boundary head's table of offsets: of the one that is stored, or as wanted."""
    [name] = BOUNDARY_NAMES["sbo.offsets.weight"]
    if not head:
        return {} if wanted is None else {"max_span_offset": wanted}
    shape = tuple(head[name].shape) if name in head else ()
    if len(shape) != 2:
        raise ConfigError(f"{folder / HEAD}: {name} has shape {shape}, expected a table; save the model again")
    return {"max_span_offset": shape[0], "span_offset_dim": shape[1]}


def _put_head(model: BackboneForPreTraining, path: Path, head: State) -> None:
    """Give a model the boundary head that lies beside it."""
    require_whole(path, [theirs for (theirs,) in BOUNDARY_NAMES.values() if theirs not in head])
    ours = model.state_dict()
    state = {name: head[theirs] for name, (theirs,) in BOUNDARY_NAMES.items()}
    require_shapes(path, state, {name: tuple(ours[name].shape) for name in state}, CONFIG)
    require_finite(path, state)
    for name, tensor in state.items():
        ours[name].copy_(tensor)


def _config_of(content: Content, where: Path) -> Any:
    """Return transformers' configuration of an encoder."""
    with _quiet(), _building(where):
        config: Any = CONFIG_MAPPING[content["model_type"]].from_dict(dict(content))
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ConfigError(
            f"{where}: transformers {transformers.__version__} has no masked language model for model_type "
            f"{content['model_type']!r}: give an encoder's, such as roberta"
        )
    for name in ("is_encoder_decoder", "is_decoder"):
        if getattr(config, name, False):
            raise ConfigError(
                f"{where}: {name} is true, and a decoder does not see what is behind a masked token: give an encoder"
            )
    return config


def _built(config: Any, where: Path) -> Any:
    """Return a new masked language model of a configuration, in float32, its weights drawn from torch's global generator."""
    with _quiet(), _building(where):
        return _class_of(config)._from_config(config, dtype=torch.float32)


def _class_of(config: Any) -> Any:
    """Return the masked language model of a configuration; where transformers has several, the first."""
    found = MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _made(content: Content, where: Path) -> Any:
    return _built(_config_of(content, where), where)


def _drawn(content: Content, shape: SpanBertConfig, where: Path) -> tuple[Any, tuple[str, ...]]:
    """Return a new model, and the names of what it lacks: nothing."""
    require_memory(shape, module_shapes(lambda: _made(content, where)))
    return _made(content, where), ()


def _loaded(content: Content, shape: SpanBertConfig, folder: Path, state: State) -> tuple[Any, tuple[str, ...]]:
    """Return a model with stored weights, and the names of those of its head that were not there."""
    require_finite(folder, {name: tensor for name, tensor in state.items() if tensor.is_floating_point()})
    require_memory(shape, module_shapes(lambda: _made(content, folder / CONFIG)))
    config = _config_of(content, folder / CONFIG)
    with _quiet(), _building(folder):
        backbone, found = _class_of(config).from_pretrained(
            None,
            config=config,
            # Copies: what is loaded is mapped, and training writes to it.
            state_dict={name: tensor.clone() for name, tensor in state.items()},
            dtype=torch.float32,
            output_loading_info=True,
        )
    lost = sorted(found["missing_keys"])
    require_whole(folder, [name for name in lost if name.startswith(f"{backbone.base_model_prefix}.")])
    return backbone.train(), tuple(lost)


@contextmanager
def _building(where: Path) -> Iterator[None]:
    """Tell what transformers raises while the body runs as an error of ours."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"{where}: transformers cannot build it ({type(error).__name__}: {said:.300}); save the model again"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Have transformers print nothing while the body runs: what matters of it is told here."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
