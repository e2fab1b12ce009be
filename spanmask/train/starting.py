"""What a run starts from: a model that fits its datasets, and the stream of their batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.loading.config import BatchLayout, LoadConfig
from spanmask.loading.rows import Masks
from spanmask.loading.share import Share
from spanmask.loading.stream import Stream
from spanmask.model.config import Objective, SpanBertConfig
from spanmask.model.convert import Imported, import_model
from spanmask.model.fitting import build
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.shard.reader import ShardSet
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.vocab import CASINGS, Vocabulary

#: Fields of a model's configuration that a resumed run may change: they decide no tensor's shape.
_FREE = ("hidden_dropout", "attention_dropout", "attention")


def free_options(config: TrainConfig) -> dict[str, Any]:
    """Return what a run says of its model, but for the shape."""
    return {name: getattr(config, name) for name in _FREE}


def model_config(config: TrainConfig, shards: Sequence[ShardSet]) -> SpanBertConfig:
    """Return the shape that is asked for by name, for the datasets' vocabulary.

    Raises
    ------
    ConfigError
        An unknown name, or a value out of range.
    ShardError
        The manifest states another size than its vocabulary has.
    """
    size = len(shards[0].manifest.vocabulary)
    changes = config.shape | free_options(config) | {"objective": config.objective}
    return SpanBertConfig.preset(config.model, vocab_size=size, **changes)


def initial_model(config: TrainConfig, shards: Sequence[ShardSet]) -> SpanBertForPreTraining:
    """Return the model before the first step; see `begin_model`."""
    return begin_model(config, shards).model


def begin_model(config: TrainConfig, shards: Sequence[ShardSet], *, tell: bool = True) -> Imported:
    """Return the model before the first step, a function of the configuration and its seed, and what of it is not as it was stored.

    tell: whether to warn of that; one rank does.

    Raises
    ------
    ConfigError
        It cannot be built as asked.
    MismatchError
        The one to go on from has another vocabulary than the datasets, or the same with another casing.
    """
    torch.manual_seed(config.seed)
    if config.init_from is None:
        return Imported(model=build(model_config(config, shards)), initialised=(), unused=())
    if config.shape:
        raise ConfigError(
            f"{', '.join(config.shape)}: the shape is that of {config.init_from}; leave them out",
            options=tuple(config.shape),
        )
    manifest = shards[0].manifest
    vocabulary = read_tokenizer(Path(config.init_from))
    found, wanted = vocabulary.sha256, manifest.stated_vocabulary.sha256
    if found != wanted:
        raise MismatchError(
            f"{config.init_from}: its vocabulary hashes to {short_digest(found)}, that of {shards[0].root} to {short_digest(wanted)}: "
            "preshard the text with the model's own tokenizer (--vocab)"
        )
    require_casing(config.init_from, vocabulary, shards[0])
    options = free_options(config) | {"objective": config.objective, "vocab_size": len(vocabulary)}
    imported = import_model(config.init_from, **options)
    if tell:
        _warn_of_changes(config.init_from, imported)
    return imported


def require_casing(place: str | Path, vocabulary: Vocabulary, shards: ShardSet) -> None:
    """Refuse a dataset whose text has another case than what a model was trained on; entries alone do not tell.

    Raises
    ------
    MismatchError
        It has.
    """
    cased = shards.manifest.stated_vocabulary.cased
    if vocabulary.cased is not cased:
        raise MismatchError(
            f"{place} is {CASINGS[vocabulary.cased]} and {shards.root} {CASINGS[cased]}, by one vocabulary: "
            f"preshard the text anew (--{CASINGS[vocabulary.cased]})"
        )


def _warn_of_changes(folder: str, imported: Imported) -> None:
    if imported.new_heads:
        warnings.warn(f"{folder}: it lacks the {' and the '.join(imported.new_heads)}: drawn anew", stacklevel=2)
    if imported.dropped:
        size = imported.model.config.vocab_size
        warnings.warn(
            f"{folder}: its embedding has {size + imported.dropped:,} rows, and the vocabulary {size:,} entries: "
            f"the last {imported.dropped:,} rows are dropped",
            stacklevel=2,
        )


def resumed_model(state: dict[str, Any], config: TrainConfig, shards: Sequence[ShardSet]) -> SpanBertForPreTraining:
    """Return a model of a checkpoint's shape, its parameters still to be loaded.

    Raises
    ------
    MismatchError
        The configuration asks for another shape, or the datasets have another vocabulary.
    """
    vocabulary = shards[0].manifest.stated_vocabulary.sha256
    if state["vocabulary"] != vocabulary:
        raise MismatchError(
            f"the checkpoint's vocabulary hashes to {short_digest(state['vocabulary'])}, "
            f"that of {shards[0].root} to {short_digest(vocabulary)}: "
            "give a dataset with the run's vocabulary"
        )
    stored = SpanBertConfig.from_json(state["model"]).changed(**free_options(config))
    wanted = stored.changed(objective=config.objective) if config.init_from else model_config(config, shards)
    told, asked = stored.to_json(), wanted.to_json()
    unlike = [f"{name} is {told[name]}, asked for is {asked[name]}" for name in told if told[name] != asked[name]]
    if unlike:
        raise MismatchError(f"the checkpoint's model differs: {'; '.join(unlike)}; resume with the run's own options")
    return build(stored)


def stream_of(
    shards: Sequence[ShardSet],
    config: TrainConfig,
    model: SpanBertConfig,
    world: World,
    *,
    masks: Masks | None = None,
) -> Stream:
    """Return a rank's stream of packed batches that a model can take. masks: instead of the configuration's.

    Raises
    ------
    ConfigError
        Bins, or sequences, are longer than the model has positions, or options do not fit the datasets.
    """
    longest = max(one.manifest.config.sequence.max_tokens for one in shards)
    width = longest if config.width is None else config.width
    if width > model.max_positions:
        raise ConfigError(
            f"bins have {width} slots, for sequences of up to {longest} tokens, and the model has {model.max_positions} positions: "
            f"preshard with --max-tokens {model.max_positions}, or train a model with more (--max-positions)"
        )
    options = LoadConfig(
        batch_size=config.batch_size,
        layout=BatchLayout.PACKED,
        seed=config.seed,
        masks=masks or config.masks,
        mask_epoch=config.mask_epoch if masks is None else 0,
        order_key=config.order_key,
        window=config.window,
        width=width,
        sbo=model.objective is Objective.MLM_SBO,
        edges=config.edges,
        max_span_offset=model.max_span_offset,
        # Held-out text, which is read with masks of its own, is taken once through.
        weights=config.weights if masks is None else None,
    )
    return Stream(shards, options, Share(rank=world.rank, world=world.size))
