"""What fine-tuning begins from: a run of ``spanmask train``, a folder that we exported, or any BERT that transformers saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.model.config import FINE_TUNING
from spanmask.model.encoders import LoadedEncoder, assembled, read_encoder
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.train.record import RUN
from spanmask.train.run_folder import load_run
from spanmask.vocab import Vocabulary


def load_encoder(
    source: str | Path,
    *,
    pooler: bool = False,
    step: int | None = None,
    vocabulary: Vocabulary | None = None,
    **changes: Any,
) -> LoadedEncoder:
    """Return an encoder to fine-tune, and the vocabulary that examples for it are tokenized with.

    What it lacks, a pooler or token types, is drawn from torch's global generator and named.

    Parameters
    ----------
    source
        A run's folder, or one that holds a BERT.
    pooler
        Whether the task reads whole sequences, and so wants a pooler.
    step
        Of a run, which checkpoint; by default its latest.
    vocabulary
        The encoder's own, where no tokenizer lies beside it.
    changes
        Fields of `SpanBertConfig` that decide no shape: ``hidden_dropout`` and ``attention_dropout``, 0.1 by default whatever it was
        trained with (paper, appendix B), and ``attention``.

    Raises
    ------
    ConfigError
        There is no such model, or checkpoint in the run; it is no BERT, or one that computes otherwise; a file or tensor is missing,
        broken, of another shape or not finite; there is no tokenizer.
    MismatchError
        The run's checkpoint is truncated or altered; it was trained with another vocabulary.
    StorageError
        The file system refused.
    """
    folder, changes = Path(source), FINE_TUNING | changes
    if (folder / RUN).exists():
        return _of_run(folder, step, vocabulary, pooler=pooler, **changes)
    if step is not None:
        raise ConfigError(f"{folder}: no {RUN} there, so it is no run with checkpoints; leave out --step")
    return read_encoder(folder, vocabulary or _beside(folder), pooler=pooler, **changes)


def _of_run(
    folder: Path, step: int | None, vocabulary: Vocabulary | None, *, pooler: bool, **changes: Any
) -> LoadedEncoder:
    run = load_run(folder, step=step)
    if not isinstance(run.model, SpanBertForPreTraining):
        raise ConfigError(
            f"{folder}: its model was trained with backbone, and only BERTs are fine-tuned here: export it (spanmask export-model) "
            "and fine-tune it with transformers"
        )
    if vocabulary is not None and vocabulary.sha256 != run.vocabulary.sha256:
        found, wanted = short_digest(vocabulary.sha256), short_digest(run.vocabulary.sha256)
        raise MismatchError(
            f"{folder}: its vocabulary hashes to {wanted}, and the one given to {found}; leave out --vocab"
        )
    state = {f"encoder.{name}": tensor for name, tensor in run.model.encoder.state_dict().items()}
    if run.model.nsp is not None:
        state |= {f"pooler.{name}": tensor for name, tensor in run.model.nsp.pooler.state_dict().items()}
    return assembled(state, run.model.config.changed(**changes), run.vocabulary, pooler=pooler)


def _beside(folder: Path) -> Vocabulary:
    try:
        return read_tokenizer(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}, or name the one it was trained with (--vocab)") from None
