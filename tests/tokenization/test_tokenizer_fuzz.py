"""Tokenizers and vocabulary files made wrong end in an error of one line, or in the ids that the library gives; never in anything else."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from figures import figure
from tokenization.mutants import MAKERS, TEXTS
from tokenization.reference import block_of
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from spanmask.config import SequenceConfig, VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.sequencing import sequence
from spanmask.tokenization import Tokenizer, library
from spanmask.vocab import Vocabulary, load_vocabulary
from spanmask.words import settle_words

#: Seconds of the processor that a watched call is given, and seconds that a file may take on a machine that others use, too.
_PATIENCE, _LIMIT = 2.0, 60.0


def _library_of(path: Path, vocabulary: Vocabulary) -> Any:
    """The library's own reading of a file; None where it refuses."""
    try:
        if path.suffix == ".json":
            found: Any = Library.from_file(str(path))
            found.no_padding()
            found.no_truncation()
            return found
        found = Library(models.WordPiece(models.WordPiece.read_file(str(path)), unk_token="[UNK]"))
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return None
        raise
    found.normalizer = normalizers.BertNormalizer(lowercase=not vocabulary.cased)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return found


def _holds_name(expected: Any, vocabulary: Vocabulary) -> bool:
    """Tell whether a text holds the name of a special token, which is text here and a token to the library."""

    def normalized(texts: Iterable[str]) -> set[str]:
        try:
            return {expected.normalizer.normalize_str(text) for text in texts} if expected.normalizer else set()
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            return set()

    texts, names = {*TEXTS} | normalized(TEXTS), {*vocabulary.special_tokens} | normalized(vocabulary.special_tokens)
    return any(name.strip() in text for name in names for text in texts)


def _outcome(path: Path) -> str:
    """What became of a file: the reason it was refused for, or that its ids are the library's."""
    try:
        vocabulary = load_vocabulary(VocabularyConfig(vocab=str(path), cased=None if path.suffix == ".json" else False))
        tokenizer = Tokenizer(vocabulary)
        found = tokenizer.encode(TEXTS).token_ids.tolist()
        tokenizer.encode(TEXTS, "parse", offsets=True)
        documents = block_of(TEXTS)
        block = tokenizer.tokenize(documents, lines=True)
        settle_words(sequence(block, documents.document_ids, SequenceConfig(max_tokens=16, min_tokens=3)), vocabulary)
        vocabulary.ordinary_ids  # noqa: B018
    except ConfigError:
        return "refused"
    expected = _library_of(path, vocabulary)
    if expected is None:
        return "read, and not by the library"
    if path.suffix == ".json" and _holds_name(expected, vocabulary):
        return "named in the texts"
    try:
        encodings = expected.encode_batch(TEXTS, add_special_tokens=False)
    except Exception:  # It lacks what it gives unknown text; compiled, that is not asked for before it is needed.
        assert vocabulary.tokenizer is None
        return "read, and not by the library"
    assert found == [number for encoding in encodings for number in encoding.ids]
    assert not found or max(found) < len(vocabulary)
    return "as the library"


def _fuzz(folder: Path, name: str, seeds: range, tell: Callable[[str], None]) -> Counter[str]:
    outcomes, path, slowest = Counter[str](), folder / name, 0.0
    for seed in seeds:
        path.write_bytes(MAKERS[name](random.Random(seed)))
        began = time.monotonic()
        try:
            outcomes[_outcome(path)] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}") from error
        slowest = max(slowest, time.monotonic() - began)
        assert slowest < _LIMIT, f"seed {seed} took {slowest:.1f} s"
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
    tell(f"{len(seeds):,} files of {name}: {told}; slowest {slowest:.2f} s")
    return outcomes


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_made_wrong_is_refused_or_has_the_ids_of_the_library(
    tmp_path: Path, name: str, tell: Callable[[str], None]
) -> None:
    with mock.patch.object(library, "PATIENCE", _PATIENCE):
        outcomes = _fuzz(tmp_path, name, range(100), tell)
    assert min(outcomes["refused"], outcomes["as the library"]) >= 10


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("name", MAKERS)
def test_many_files_made_wrong_are_refused_or_have_the_ids_of_the_library(
    tmp_path: Path, name: str, tell: Callable[[str], None]
) -> None:
    with mock.patch.object(library, "PATIENCE", _PATIENCE):
        _fuzz(tmp_path, name, range(1000, figure(3000, 9000)), tell)
