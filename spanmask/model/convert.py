"""Models across to Hugging Face and back: written as safetensors, read as these or as the pickles that most BERTs were published as.

::

    DIR/config.json              BertConfig's fields
    DIR/model.safetensors        the encoder and MLM head under BERT's names; the decoder is the word embedding and not stored again
    DIR/sbo_head.safetensors     the span boundary head under the names of the paper's code: apart, since transformers has no place for it
    DIR/README.md                a card, if one is given
    DIR/vocab.txt …              the tokenizer (`spanmask.model.tokenizer_files`)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.model.bert_folder import CONFIG, HEAD, MODEL, StoredBert, bert_config, publish_model, read_bert
from spanmask.model.config import FINE_TUNING, Objective, SpanBertConfig
from spanmask.model.fitting import build, read_tensors, require_whole, shapes_of
from spanmask.model.naming import (
    BOUNDARY_NAMES,
    NSP_NAMES,
    OFFSETS,
    TIED,
    Shapes,
    State,
    bert_names,
    modern_names,
    to_theirs,
)
from spanmask.model.pretraining import PretrainingModel, SpanBertForPreTraining
from spanmask.tokenizer_folder import read_json
from spanmask.vocab import Vocabulary

_BOUNDARY = {name for (name,) in BOUNDARY_NAMES.values()}
_NEXT = {name for (name,) in NSP_NAMES.values()}
_HEADS = {"mlm": "MLM head", "sbo": "span boundary head", "nsp": "next-sentence head"}


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
    config, state = model.config, model.state_dict()
    kind, names = "BertForMaskedLM", bert_names(config)
    if model.nsp is not None:
        kind, names = "BertForPreTraining", names | NSP_NAMES
    content = bert_config(config.changed(**FINE_TUNING), vocabulary, architectures=[kind])
    states = {MODEL: to_theirs(state, names, config)}
    if model.sbo is not None:
        states[HEAD] = to_theirs(state, BOUNDARY_NAMES, config)
    publish_model(Path(folder), vocabulary, content, states, card=card, overwrite=overwrite)


def load(folder: str | Path, **changes: Any) -> SpanBertForPreTraining:
    """Load a model with the heads that its folder has; without a boundary head its objective is ``mlm``.

    Parameters
    ----------
    folder
        What `export` or transformers wrote.
    changes
        Fields of `SpanBertConfig` that config.json does not decide, such as ``attention``.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors, or a tensor is missing or of another shape.
    StorageError
        The file system refused.
    """
    imported = import_model(folder, objective=None, **changes)
    if imported.initialised:
        raise ConfigError(
            f"{folder}: it lacks {', '.join(imported.initialised)}; start training from it instead (--init-from), which draws them anew"
        )
    return imported.model


def load_model(folder: str | Path) -> PretrainingModel:
    """Load a BERT as `load` does, or another masked language model as `spanmask.model.load_backbone` does, which say what they raise."""
    path = Path(folder) / CONFIG
    if not path.exists() or read_json(path).get("model_type", "bert") == "bert":
        return load(folder)
    from spanmask.model import load_backbone

    return load_backbone(folder)


def import_model(folder: str | Path, *, objective: Objective | None = Objective.MLM_SBO, **changes: Any) -> Imported:
    """Build a model from any BERT that transformers saved; heads that are not there are initialised from torch's global generator.

    Parameters
    ----------
    folder
        What transformers' ``save_pretrained`` or `export` wrote, or what SpanBERT was published as.
    objective
        Which heads the model shall have; None: those that the folder has, and one for masked tokens.
    changes
        Fields of `SpanBertConfig` to have instead of config.json's, such as ``hidden_dropout``; shapes are the folder's, but for a
        ``vocab_size`` below that of an embedding that was padded: the rows beyond it are dropped.

    Raises
    ------
    ConfigError
        A file is missing, broken or more than tensors; it is no BERT, or one that computes otherwise; a tensor of the encoder is missing,
        or any is of another shape; the embedding has fewer rows than ``vocab_size``.
    StorageError
        The file system refused.
    """
    bert = read_bert(folder)
    stored = _with_head(bert)
    if objective is None:
        there = stored.tensors.keys()
        objective = Objective.with_heads(sbo=bool(_BOUNDARY & there), nsp=there >= _NEXT)
    config = _with_table(stored, stored.config.changed(objective=objective, **changes))
    bert.require(config)
    shapes = shapes_of(config)
    names = bert_names(config) | (BOUNDARY_NAMES if objective.sbo else {}) | (NSP_NAMES if objective.nsp else {})
    state = stored.fitted(config, names, shapes)
    initialised = _missing(stored.folder, state, shapes)
    model = build(config)
    model.load_state_dict(state, strict=False)
    used = {part for parts in names.values() for part in parts}
    unused = tuple(sorted(stored.tensors.keys() - used - TIED))
    dropped = stored.config.vocab_size - config.vocab_size
    return Imported(model=model, initialised=initialised, unused=unused, dropped=dropped)


def _missing(folder: Path, state: State, shapes: Shapes) -> tuple[str, ...]:
    """Return the names of the heads' tensors that are not in a state; one of the encoder that is not is refused."""
    missing = tuple(name for name in shapes if name not in state)
    require_whole(folder, [name for name in missing if name.startswith("encoder.")])
    return missing


def _with_head(stored: StoredBert) -> StoredBert:
    """Return what is stored together with the span boundary head that lies beside it, if one does."""
    path = stored.folder / HEAD
    head = modern_names(read_tensors(path)) if path.exists() else {}
    return replace(stored, tensors=stored.tensors | head)


def _with_table(stored: StoredBert, config: SpanBertConfig) -> SpanBertConfig:
    """Return the configuration with the offset table of a stored boundary head, if there is one."""
    if OFFSETS not in stored.tensors:
        return config
    shape = tuple(stored.tensors[OFFSETS].shape)
    if len(shape) != 2:
        raise ConfigError(f"{stored.folder}: {OFFSETS} has shape {shape}, expected a table; save the model again")
    return config.changed(max_span_offset=shape[0], span_offset_dim=shape[1])
