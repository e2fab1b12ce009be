"""Fine-tuned models as transformers has them, out and back: ``AutoModelForQuestionAnswering`` and ``AutoModelFor…Classification``.

::

    DIR/config.json          BertConfig's fields, with the names of labels
    DIR/model.safetensors    encoder, pooler and head under BERT's names
    DIR/README.md            a card, if one is given
    DIR/vocab.txt …          the tokenizer (`spanmask.model.tokenizer_files`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from spanmask.errors import ConfigError
from spanmask.model.bert_folder import CONFIG, MODEL, StoredBert, bert_config, publish_model, read_bert
from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import SpanBertEncoder
from spanmask.model.finetuning import ClassHead, FineTuned, NumberHead, Pooler, SpanHead, TokenClassHead
from spanmask.model.fitting import module_shapes, require_memory, require_whole
from spanmask.model.naming import CLASS_NAMES, POOLER_NAMES, SPAN_NAMES, Names, encoder_names, to_theirs
from spanmask.tokenizer_folder import read_json
from spanmask.vocab import Vocabulary

_ENCODER = "BertModel"
_ANSWERS, _CLASSES, _TOKENS = (
    f"BertFor{task}" for task in ("QuestionAnswering", "SequenceClassification", "TokenClassification")
)
#: What holds each head.
_ARCHITECTURES: dict[type, str] = {
    SpanHead: _ANSWERS,
    ClassHead: _CLASSES,
    NumberHead: _CLASSES,
    TokenClassHead: _TOKENS,
}
#: Where transformers has had what tasks want of a model.
_RECIPES = "task_specific_params"
#: The names of what is there beside the encoder.
_NAMES: dict[str, Names] = {_ANSWERS: SPAN_NAMES, _CLASSES: POOLER_NAMES | CLASS_NAMES, _TOKENS: CLASS_NAMES}


def export_finetuned(
    model: FineTuned,
    folder: str | Path,
    vocabulary: Vocabulary,
    *,
    recipes: Mapping[str, Any] | None = None,
    card: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a fine-tuned model so that transformers loads it, with its tokenizer, as float32; the folder appears whole or not at all.

    Parameters
    ----------
    model
        With a `SpanHead`, a `TokenClassHead`, or a pooler and a `ClassHead` or `NumberHead`, which becomes a `ClassHead` that says the
        same; of any dtype, on any device. Of another head, for which transformers has no place, the tensors lie beside the encoder as
        ``head.…``, and ``AutoModel`` loads that.
    folder
        It is new or empty, or holds a model.
    vocabulary
        What its ids mean.
    recipes
        By task, as plain JSON values, how texts become what it reads: ``task_specific_params`` in config.json.
    card
        A text of Markdown about it.
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
    head, config = model.head, model.config
    architecture = _ARCHITECTURES.get(type(head), _ENCODER)
    labels: dict[str, Any] = {}
    if isinstance(head, ClassHead):
        labels = {"id2label": dict(enumerate(head.labels)), "label2id": {n: k for k, n in enumerate(head.labels)}}
        # Else pipelines squash the number that a model with one label tells.
        labels |= {"problem_type": "regression"} if len(head.labels) == 1 else {}
    content = bert_config(config, vocabulary, architectures=[architecture], **labels)
    if recipes:
        content[_RECIPES] = dict(recipes)
    state = model.state_dict()
    names = encoder_names(config) | _NAMES.get(architecture, _own_names(state))
    if isinstance(head, NumberHead):
        state |= {f"head.{name}": tensor for name, tensor in head.folded().items()}
    states = {MODEL: to_theirs(state, names, config)}
    publish_model(Path(folder), vocabulary, content, states, card=card, overwrite=overwrite)


def load_finetuned(
    folder: str | Path, *, head: Callable[[SpanBertConfig], nn.Module] | None = None, **changes: Any
) -> FineTuned:
    """Load what `export_finetuned` or transformers wrote, on the host in float32.

    Parameters
    ----------
    folder
        What holds it.
    head
        What makes the head of a model for whose head transformers has no place; None: it has another.
    changes
        Fields of `SpanBertConfig` to have instead of config.json's, such as ``attention``; shapes are the folder's.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors; it is no such model; a tensor is missing, of another shape or not finite.
    StorageError
        The file system refused.
    """
    stored = read_bert(folder)
    config = stored.config.changed(**changes)
    stored.require(config)
    if head is None:
        architecture = _architecture(stored)
        make = partial(_made, config, architecture, () if architecture == _ANSWERS else _labels(stored))
    else:
        architecture, make = _ENCODER, partial(_with_head, config, head)
    shapes = module_shapes(make)
    state = stored.fitted(config, encoder_names(config) | _NAMES.get(architecture, _own_names(shapes)), shapes)
    require_whole(folder, sorted(shapes.keys() - state.keys()))
    require_memory(config, shapes)
    model = make()
    model.load_state_dict(state)
    return model


def read_recipe(folder: str | Path, task: str) -> Mapping[str, Any]:
    """Return how texts become what a model reads, as a task stored it with the model.

    Raises
    ------
    ConfigError
        There is no such model, or nothing of that task is stored with it.
    StorageError
        The file system refused.
    """
    path = Path(folder) / CONFIG
    told = read_json(path).get(_RECIPES)
    recipe = told.get(task) if isinstance(told, dict) else None
    if not isinstance(recipe, dict):
        raise ConfigError(
            f"{path}: {_RECIPES} holds nothing of {task!r}; give a model that spanmask probe {task} wrote"
        )
    return recipe


def _made(config: SpanBertConfig, architecture: str, labels: tuple[str, ...]) -> FineTuned:
    """Return a new model of an architecture, for labels where it has such."""
    encoder = SpanBertEncoder(config)
    if architecture == _ANSWERS:
        return FineTuned(encoder, SpanHead(config))
    if architecture == _TOKENS:
        return FineTuned(encoder, TokenClassHead(config, labels))
    return FineTuned(encoder, ClassHead(config, labels), Pooler(config))


def _with_head(config: SpanBertConfig, head: Callable[[SpanBertConfig], nn.Module]) -> FineTuned:
    return FineTuned(SpanBertEncoder(config), head(config))


def _own_names(names: Iterable[str]) -> Names:
    """Return the names of a head's tensors for which transformers has none: our own."""
    return {name: (name,) for name in names if name.startswith("head.")}


def _architecture(stored: StoredBert) -> str:
    told = stored.content.get("architectures")
    found = told[0] if isinstance(told, list) and len(told) == 1 else told
    if not isinstance(found, str) or found not in _NAMES:
        raise ConfigError(
            f"{stored.folder / CONFIG}: architectures is {told!r:.200}, expected one of {', '.join(_NAMES)}; give a fine-tuned model, or "
            "what makes its head"
        )
    return found


def _labels(stored: StoredBert) -> tuple[str, ...]:
    """Return the names of labels in order; where none are told, transformers' own."""
    weight = stored.tensors.get("classifier.weight")
    if weight is None or not weight.numel():
        raise ConfigError(f"{stored.folder}: it lacks classifier.weight; save the model again")
    rows = weight.shape[0] if weight.ndim else 0
    told = stored.content.get("id2label") or {str(number): f"LABEL_{number}" for number in range(rows)}
    names = [told.get(str(number)) for number in range(len(told))] if isinstance(told, Mapping) else [None]
    if len(names) != rows or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{stored.folder / CONFIG}: id2label is {told!r:.200}, expected the names of the {rows} labels that classifier.weight scores; "
            "save the model again"
        )
    return tuple(map(str, names))
