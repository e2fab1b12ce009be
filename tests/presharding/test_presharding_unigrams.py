"""Random ids come as often as in the corpus: what is counted is spread over all inputs, whatever they are, however large."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from spanmask.config import CorpusConfig, Format, VocabularyConfig
from spanmask.corpus.inputs import find_inputs
from spanmask.presharding import unigrams
from spanmask.presharding.unigrams import count_unigrams
from spanmask.vocab import Vocabulary, load_vocabulary

DATA = Path(__file__).parents[3] / "shared" / "data" / "prose"
VOCABULARY = load_vocabulary(VocabularyConfig(vocab="cased"))
#: A word of one piece for each input and place, so that counts tell where text was taken from.
WORDS = [entry for entry in VOCABULARY.entries if entry.isascii() and entry.isalpha() and entry.islower()][:6000]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of samples, windows and pieces that a small corpus is large beside."""
    monkeypatch.setattr(unigrams, "LEAST_BYTES", 40 << 10)
    monkeypatch.setattr(unigrams, "_WINDOW_BYTES", 1 << 10)
    monkeypatch.setattr(unigrams, "_PIECE_BYTES", 128)


def _documents(words: list[str], size: int, words_a_document: int) -> list[str]:
    """Documents of about so many bytes of text in all, which go through the words in order."""
    count = size // 6
    spread = [words[place * len(words) // count] for place in range(count)]
    return [" ".join(spread[at : at + words_a_document]) for at in range(0, count, words_a_document)]


def _text(path: Path, documents: list[str]) -> None:
    path.write_text("\n\n".join(documents) + "\n")


def _jsonl(path: Path, documents: list[str]) -> None:
    data = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(documents)).encode()
    compress = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(compress(data))


def _parquet(path: Path, documents: list[str]) -> None:
    pyarrow.parquet.write_table(pa.table({"text": documents}), path, row_group_size=max(len(documents), 1))


def _arrow(path: Path, documents: list[str]) -> None:
    table = pa.table({"text": documents})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


KINDS: dict[str, Callable[[Path, list[str]], None]] = {
    "text.txt": _text,
    "rows.jsonl": _jsonl,
    "rows.jsonl.gz": _jsonl,
    "rows.jsonl.zst": _jsonl,
    "rows.parquet": _parquet,
    "rows.arrow": _arrow,
}


def _count(*paths: Path, vocabulary: Vocabulary = VOCABULARY, **options: Any) -> np.ndarray[Any, Any]:
    files = find_inputs([str(path) for path in paths], Format.AUTO).files
    return count_unigrams(files, CorpusConfig(**options), vocabulary)


def _of(counts: np.ndarray[Any, Any], words: list[str]) -> np.ndarray[Any, Any]:
    return counts[[VOCABULARY.ids[word] for word in words]]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("words_a_document", "parts", "tolerance"), [(5, 20, 0.25), (60, 20, 0.25), (3000, 4, 0.6)])
@pytest.mark.parametrize("name", KINDS)
def test_every_part_of_an_input_is_counted_alike(
    name: str, words_a_document: int, parts: int, tolerance: float, tmp_path: Path
) -> None:
    """Of documents below a window each twentieth of the text counts alike; of fifty that are twenty times as long each quarter does."""
    path = tmp_path / name
    KINDS[name](path, _documents(WORDS[:400], 1 << 20, words_a_document))
    counts = _of(_count(path), WORDS[:400]).reshape(parts, -1).sum(axis=1)
    assert counts.sum() * 6 > 40 << 10
    assert np.abs(counts / counts.sum() * parts - 1).max() < tolerance, counts


@pytest.mark.usefixtures("small")
def test_inputs_of_all_kinds_count_by_their_text(tmp_path: Path) -> None:
    for number, (name, write) in enumerate(KINDS.items()):
        write(tmp_path / name, _documents(WORDS[1000 * number : 1000 * number + 300], 256 << 10, 40))
    counts = _count(*(tmp_path / name for name in KINDS))
    shares = np.array([_of(counts, WORDS[1000 * n : 1000 * n + 300]).sum() for n in range(len(KINDS))]) / counts.sum()
    assert np.abs(shares * len(KINDS) - 1).max() < 0.25, shares


@pytest.mark.usefixtures("small")
def test_a_thousand_small_files_count_by_their_text(tmp_path: Path) -> None:
    for number in range(1000):
        _text(tmp_path / f"{number:04}.txt", _documents(WORDS[number // 100 * 100 :][:100], 700, 20))
    counts = _of(_count(tmp_path), WORDS[:1000]).reshape(10, 100).sum(axis=1)
    assert np.abs(counts / counts.sum() * 10 - 1).max() < 0.25, counts


@pytest.mark.parametrize("name", KINDS)
def test_a_corpus_below_the_least_is_counted_whole(name: str, tmp_path: Path) -> None:
    documents = _documents(WORDS[:200], 200_000, 50)
    KINDS[name](tmp_path / name, documents)
    counts = _count(tmp_path / name)
    assert counts.sum() == sum(len(document.split()) for document in documents)


@pytest.mark.usefixtures("small")
def test_short_texts_in_long_records_are_counted_until_there_is_enough(tmp_path: Path) -> None:
    """One record in eight hundred bytes of others: the first share is far too small."""
    documents = _documents(WORDS[:200], 300_000, 10)
    lines = [json.dumps({"other": "x" * 700, "text": text}) + "\n" for text in documents]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    assert _count(tmp_path / "rows.jsonl").sum() * 6 > 40 << 10


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("character", ["猫", "é", "x"])
def test_text_without_a_space_is_cut_between_characters(character: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(character * 300_000 + "\n")
    counts = _count(tmp_path / "text.txt")
    assert counts.sum() > 0
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": character * 300_000}) + "\n")
    assert _count(tmp_path / "rows.jsonl").sum() > 0


def test_unknown_tokens_are_counted_and_drawn_as_the_released_program_does(lab: Any) -> None:
    path = lab.jsonl([{"text": "the cat ☃ sat " * 20} for _ in range(60)])
    manifest = lab.run(path, "out", sampler="reference")
    unk = manifest.vocabulary.special.unk
    assert manifest.unigram[unk] == 60 * 20
    others = [number for role, number in manifest.vocabulary.special.as_dict().items() if role != "unk"]
    assert not np.array(manifest.unigram)[others].any()


def test_no_id_of_another_role_is_counted_as_unknown() -> None:
    """GPT-2's unknown token begins and ends its texts, too."""
    special = VOCABULARY.special
    assert special.unk in VOCABULARY.counted_ids
    assert not {special.pad, special.cls, special.sep, special.mask} & set(VOCABULARY.counted_ids.tolist())
    entries = json.loads(json.dumps({entry: number for number, entry in enumerate(["<|end|>", "<mask>", "a", "b"])}))
    content = {
        "model": {"type": "WordLevel", "vocab": entries, "unk_token": "<|end|>"},
        "added_tokens": [{"id": n, "content": name, "special": True} for name, n in list(entries.items())[:2]],
        "post_processor": {"type": "RobertaProcessing", "sep": ["<|end|>", 0], "cls": ["<|end|>", 0]},
        "padding": {"pad_id": 0},
    }
    vocabulary = Vocabulary(name="gpt", entries=tuple(entries), cased=None, tokenizer=json.dumps(content))
    assert vocabulary.special.unk == 0
    assert vocabulary.counted_ids.tolist() == [2, 3]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["enwiki2018.*.jsonl.zst", "litbank_novels.jsonl.zst", "*.jsonl.zst"])
def test_counts_of_a_sample_are_near_those_of_the_corpus(name: str, tell: Callable[[str], None]) -> None:
    """Novels are documents of half a megabyte: pieces of many tell what whole ones would not."""
    paths = sorted(DATA.glob(name))
    if not paths:
        pytest.skip(f"{DATA} is absent")
    files = find_inputs([str(path) for path in paths], Format.AUTO).files
    whole, size = unigrams._count(files, CorpusConfig(), VOCABULARY, Fraction(1))
    sample = count_unigrams(files, CorpusConfig(), VOCABULARY)
    wanted = np.zeros(len(VOCABULARY))
    wanted[VOCABULARY.counted_ids] = whole[VOCABULARY.counted_ids]
    distance = np.abs(sample / sample.sum() - wanted / wanted.sum()).sum() / 2
    never = int(((wanted > 0) & (sample == 0)).sum())
    tell(
        f"{sample.sum():,} of {int(wanted.sum()):,} tokens, {size >> 20} MiB: total variation distance {distance:.4f}, "
        f"{never:,} of {int((wanted > 0).sum()):,} ids never counted"
    )
    assert distance <= 0.05
