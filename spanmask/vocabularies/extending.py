"""`extend_model`: text and a model's folder flow in, such a folder with more entries flows out."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from spanmask.corpus.inputs import Inputs
from spanmask.errors import ConfigError
from spanmask.folders import refuse_file, refuse_occupied
from spanmask.model.bert_folder import MODEL_FILES
from spanmask.model.growing import grow_model, require_model
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.presharding.finding import Paths
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary
from spanmask.vocabularies.config import ExtendingConfig
from spanmask.vocabularies.measuring import Measured, measure
from spanmask.vocabularies.pieces import NewPiece, Run, Words, choose_pieces, count_words
from spanmask.vocabularies.text import Corpus, OnProgress, found_corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedModel:
    """What was added and written.

    Attributes
    ----------
    vocabulary
        The old entries, then the new ones.
    pieces
        The new ones, in order of their ids.
    inputs
        What was read.
    measured
        How some of the text is tokenized, now and before.
    """

    vocabulary: Vocabulary
    pieces: tuple[NewPiece, ...]
    inputs: Inputs
    measured: tuple[Measured, Measured]


def extend_model(
    inputs: Paths,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: ExtendingConfig,
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> ExtendedModel:
    """Add the pieces that save a text the most tokens to a model's vocabulary, and give the model rows for them.

    Pieces are runs of old ones inside a word. Each row of a new entry, of the embedding and of the biases of both heads, is the mean of
    those its text had; old entries keep their ids and rows, ``[unusedN]`` among them.

    Parameters
    ----------
    inputs
        Files, folders and globs, in order; ``-`` is standard input. They are read twice.
    model
        A BERT's folder, as transformers or ``spanmask export-model`` writes it, with its WordPiece vocabulary.
    out
        Folder to write: such a folder again.
    config
        How many pieces, and of which text.
    overwrite
        Whether a model in ``out`` is replaced, once the new one is complete.
    on_progress
        Called with `Progress` as the work goes on.

    Raises
    ------
    ConfigError
        An option, path or the model cannot be used, or the text has fewer pieces to add.
    CorpusError
        Text that cannot be read.
    MismatchError
        Another process is writing ``out``.
    StorageError
        The file system refused; nothing is left behind.
    """
    source, folder = Path(model), Path(out).absolute()
    refuse_file(folder)
    refuse_occupied(folder, MODEL_FILES, "model's", overwrite=overwrite)
    old = _berts(source)
    require_model(source, len(old))
    with found_corpus(inputs, config.corpus, on_progress) as corpus:
        counts = _count(corpus, old)
        corpus.tell("choosing pieces")
        words = Words(counts, frozenset(old.ordinary_ids.tolist()))
        pieces = choose_pieces(words, old.entries, add=config.add, min_frequency=config.min_frequency)
        if len(pieces) < config.add:
            raise ConfigError(
                f"add is {config.add:,}: {len(pieces):,} runs of the model's pieces stand {config.min_frequency:,} times or more in words "
                "of the text; give a smaller number, more text, or a lower min_frequency"
            )
        new = replace(old, entries=(*old.entries, *(piece.text for piece in pieces)))
        measured = measure(corpus, new, old)
        corpus.tell("writing the model")
        grow_model(source, folder, new, [piece.parts for piece in pieces], overwrite=overwrite)
    return ExtendedModel(vocabulary=new, pieces=tuple(pieces), inputs=corpus.inputs, measured=measured)


def _berts(folder: Path) -> Vocabulary:
    """Return the vocabulary of a model's folder, if it is BERT's WordPiece."""
    vocabulary = read_tokenizer(folder)
    if vocabulary.tokenizer is not None:
        kind = json.loads(vocabulary.tokenizer)["model"]["type"]
        found = "has other parts than BERT's" if kind == "WordPiece" else f"is {kind}"
        raise ConfigError(
            f"{folder}: pieces are added to BERT's WordPiece alone, and its tokenizer.json {found}: "
            "give a BERT's folder, or train a vocabulary (spanmask vocab --kind) and a model of its own"
        )
    return vocabulary


def _count(corpus: Corpus, vocabulary: Vocabulary) -> Counter[Run]:
    """Return how often each word of several pieces stands in a corpus."""
    tokenizer, counts = Tokenizer(vocabulary), Counter[Run]()
    for block in corpus.blocks("counting words"):
        count_words(tokenizer.tokenize(block), counts)
    return counts
