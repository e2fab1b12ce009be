"""What a run starts from: a model that fits its datasets, and the stream of their batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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
from spanmask.model.pretraining import PretrainingModel
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.shard.reader import ShardSet
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.vocab import CASINGS, Vocabulary

#: Fields of a model's configuration that a resumed run may change: they decide no tensor's shape.
_FREE = ("hidden_dropout", "attention_dropout", "attention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A model as a run begins with it, or goes on.

    new_heads, dropped: what of it is not as it was stored. backbone: the configuration of one of transformers; None for our own. batches:
    how its batches are made, and why, where that is to be told.
    """

    model: PretrainingModel
    new_heads: tuple[str, ...] = ()
    dropped: int = 0
    backbone: dict[str, Any] | None = None
    batches: str = ""


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


def initial_model(config: TrainConfig, shards: Sequence[ShardSet]) -> PretrainingModel:
    """Return the model before the first step; see `begin_model`."""
    return begin_model(config, shards).model


def begin_model(config: TrainConfig, shards: Sequence[ShardSet], *, tell: bool = True) -> Begun:
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
    if config.backbone is not None:
        return _begun_backbone(config, config.backbone, shards[0], tell=tell)
    if config.init_from is None:
        return Begun(model=build(model_config(config, shards)))
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
    return Begun(model=imported.model, new_heads=imported.new_heads, dropped=imported.dropped)


def _begun_backbone(config: TrainConfig, folder: str, shards: ShardSet, *, tell: bool) -> Begun:
    from spanmask.model import begin_backbone

    with warnings.catch_warnings():
        if not tell:
            warnings.simplefilter("ignore")
        begun = begin_backbone(
            folder, shards.manifest.vocabulary, objective=config.objective, max_span_offset=config.max_span_offset
        )
        _warn_of_new_heads(folder, begun.new_heads)
    return Begun(model=begun.model, new_heads=begun.new_heads, backbone=begun.content, batches=begun.batches)


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


def _warn_of_new_heads(folder: str, heads: Sequence[str]) -> None:
    if heads:
        warnings.warn(f"{folder}: it lacks the {' and the '.join(heads)}: drawn anew", stacklevel=3)


def _warn_of_changes(folder: str, imported: Imported) -> None:
    _warn_of_new_heads(folder, imported.new_heads)
    if imported.dropped:
        size = imported.model.config.vocab_size
        warnings.warn(
            f"{folder}: its embedding has {size + imported.dropped:,} rows, and the vocabulary {size:,} entries: "
            f"the last {imported.dropped:,} rows are dropped",
            stacklevel=2,
        )


def resumed_model(state: dict[str, Any], config: TrainConfig, shards: Sequence[ShardSet]) -> Begun:
    """Return a model of a checkpoint's shape, its parameters still to be loaded, and what the checkpoint tells of how it began.

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
    stored, backbone = SpanBertConfig.from_json(state["model"]), state.get("backbone")
    if backbone is None:
        stored = stored.changed(**free_options(config))
        wanted = stored.changed(objective=config.objective) if config.init_from else model_config(config, shards)
    else:
        table = stored.max_span_offset if config.max_span_offset is None else config.max_span_offset
        wanted = stored.changed(objective=config.objective, max_span_offset=table)
    told, asked = stored.to_json(), wanted.to_json()
    unlike = [f"{name} is {told[name]}, asked for is {asked[name]}" for name in told if told[name] != asked[name]]
    if unlike:
        raise MismatchError(f"the checkpoint's model differs: {'; '.join(unlike)}; resume with the run's own options")
    began: dict[str, Any] = {"new_heads": tuple(state.get("new_heads", ())), "dropped": state.get("dropped_rows", 0)}
    if backbone is None:
        return Begun(model=build(stored), **began)
    from spanmask.model import build_backbone

    model, batches = build_backbone(backbone, stored, "the checkpoint's backbone")
    return Begun(model=model, **began, backbone=backbone, batches=batches)


def stream_of(
    shards: Sequence[ShardSet],
    config: TrainConfig,
    model: SpanBertConfig,
    world: World,
    *,
    masks: Masks | None = None,
    packed: bool = True,
) -> Stream:
    """Return a rank's stream of batches that a model can take. masks: instead of the configuration's. packed: else they are bucketed.

    Raises
    ------
    ConfigError
        Bins, or sequences, are longer than the model has positions, or options do not fit the datasets.
    """
    # Held-out text without pairs asks for masked tokens alone.
    if masks is None and model.objective.nsp and not any(one.manifest.paired for one in shards):
        raise ConfigError(
            f"objective is {model.objective}, and no dataset has pairs of segments: preshard the text with --segmentation pairs, or give "
            f"--objective {Objective.with_heads(sbo=model.objective.sbo, nsp=False)}",
            options=("objective",),
        )
    longest = max(one.manifest.config.sequence.max_tokens for one in shards)
    width = longest if config.width is None else config.width
    if width > model.max_positions:
        raise ConfigError(
            f"bins have {width} slots, for sequences of up to {longest} tokens, and the model has {model.max_positions} positions: "
            f"preshard with --max-tokens {model.max_positions}, or train a model with more (--max-positions)"
        )
    options = LoadConfig(
        batch_size=config.batch_size,
        layout=BatchLayout.PACKED if packed else BatchLayout.BUCKETED,
        seed=config.seed,
        masks=masks or config.masks,
        mask_epoch=config.mask_epoch if masks is None else 0,
        order_key=config.order_key,
        window=config.window,
        width=width if packed else config.width,
        sbo=model.objective.sbo,
        edges=config.edges,
        max_span_offset=model.max_span_offset,
        # Held-out text, which is read with masks of its own, is taken once through.
        weights=config.weights if masks is None else None,
    )
    return Stream(shards, options, Share(rank=world.rank, world=world.size))
