"""`train_vocabulary`: text flows in, a folder with a tokenizer's files flows out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spanmask.config import VocabularyConfig, VocabularyKind
from spanmask.corpus.inputs import Inputs
from spanmask.folders import publish_folder, refuse_file, refuse_occupied
from spanmask.model.tokenizer_files import FILES, tokenizer_files
from spanmask.presharding.finding import Paths
from spanmask.storage import refuse_url
from spanmask.tokenization.training import Alphabet, alphabet_of, train_tokenizer
from spanmask.tokenizer_folder import TOKENIZER
from spanmask.vocab import Vocabulary, load_vocabulary, vocabulary_from_json
from spanmask.vocabularies.config import TrainingConfig
from spanmask.vocabularies.measuring import Measured, measure
from spanmask.vocabularies.text import Amount, OnProgress, found_corpus

#: The longest sequence that is told to transformers, which wants to know one; BERT's.
_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVocabulary:
    """What was trained and written.

    Attributes
    ----------
    vocabulary
        As `load_vocabulary` reads it from the folder.
    alphabet
        The characters it is made of; empty for byte-level BPE.
    amount, inputs
        What was read.
    measured
        How some of the text is tokenized, by it and by BERT's vocabulary of the same casing.
    """

    vocabulary: Vocabulary
    alphabet: Alphabet
    amount: Amount
    inputs: Inputs
    measured: tuple[Measured, Measured]


def train_vocabulary(
    inputs: Paths,
    out: str | os.PathLike[str],
    config: TrainingConfig,
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> TrainedVocabulary:
    """Train a vocabulary on a text and write it as a folder, which appears whole or not at all.

    The folder's bytes depend on the text, the configuration and the version of the `tokenizers` library alone.

    Parameters
    ----------
    inputs
        Files, folders and globs, in order; ``-`` is standard input. They are read twice.
    out
        Folder to write: for `load_vocabulary` and transformers' ``AutoTokenizer.from_pretrained``.
    config
        What is trained.
    overwrite
        Whether a vocabulary in ``out`` is replaced, once the new one is complete.
    on_progress
        Called with `Progress` as the work goes on.

    Raises
    ------
    ConfigError
        An option or path cannot be used, or the size is too small for the text's characters.
    CorpusError
        Text that cannot be read, or no text at all.
    MismatchError
        Another process is writing ``out``.
    StorageError
        The file system refused; nothing is left behind.
    """
    refuse_url(out, "out")
    folder = Path(out).absolute()
    check = partial(refuse_occupied, folder, FILES, "vocabulary's", overwrite=overwrite)
    refuse_file(folder)
    check()
    with found_corpus(inputs, config.corpus, on_progress) as corpus, publish_folder(folder, check) as written:
        amount, characters = corpus.count()
        alphabet = Alphabet(letters=(), left=(), seen=len(characters))
        cased = config.cased is not False
        if config.kind is not VocabularyKind.BPE:
            alphabet = alphabet_of(config.kind, characters, cased=cased, coverage=config.coverage)
        text = train_tokenizer(
            config.kind,
            corpus.texts(alphabet.left),
            alphabet,
            size=config.size,
            min_frequency=config.min_frequency or 1,
            cased=cased,
        )
        vocabulary = vocabulary_from_json(Path(TOKENIZER), text)
        for name, data in (tokenizer_files(vocabulary, max_tokens=_MAX_TOKENS) | {TOKENIZER: text.encode()}).items():
            written.write_bytes(name, data)
        berts = load_vocabulary(VocabularyConfig(vocab="cased" if cased else "uncased"))
        measured = measure(corpus, vocabulary, berts)
    return TrainedVocabulary(
        vocabulary=vocabulary, alphabet=alphabet, amount=amount, inputs=corpus.inputs, measured=measured
    )
