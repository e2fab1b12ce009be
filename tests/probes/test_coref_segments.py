"""Documents of coreference as a model reads them: columns of each source, words and their pieces, segments, spans that may be mentions."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from probes.ordering import vocabulary

from spanmask import Tokenizer
from spanmask.config import OnError
from spanmask.errors import CorpusError
from spanmask.probes.coref.config import CorefConfig
from spanmask.probes.coref.documents import Fault, Text, fold, read_texts
from spanmask.probes.coref.segments import cut_texts, reaches, segment_bounds, unreached
from spanmask.probes.scores.conll import read_conll, write_conll

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "coref"
needs_coref = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the documents in {DATA}, which are not there")

WORDS = [["The", "raven", "spoke"], ["it", "was", "(", "black", ")", "."]]
ENTITIES = [[(0, 1), (3, 3)]]
SOURCES: dict[str, str] = {
    "OntoGUM": "# begin document \n0\tThe\t(1\n1\traven\t1)\n2\tspoke\t_\n\n3\tit\t(1)\n4\twas\t_\n5\t(\t_\n6\tblack\t_\n7\t)\t_\n8\t.\t_\n"
    "# end document\n",
    "LitBank": "#begin document (9_b); part 0\n"
    + "".join(
        f"9_b\t0\t0\t{word}\t" + "_\t" * 8 + f"{cell}\n"
        for word, cell in [("The", "(1"), ("raven", "1)"), ("spoke", "")]
    )
    + "\n"
    + "".join(f"9_b\t0\t0\t{word}\t" + "_\t" * 8 + f"{'(1)' if word == 'it' else ''}\n" for word in WORDS[1])
    + "\n#end document\n",
    "OntoNotes": "#begin document (bc/x); part 000\n"
    + "".join(
        f"bc/x   0    0   {word:>9}   NN (TOP(S*  -   -   -   Speaker#1   *   {cell}\n"
        for word, cell in [("The", "(1"), ("raven", "1)"), ("spoke", "-")]
    )
    + "\n"
    + "".join(
        f"bc/x   0    0   {word:>9}   NN (TOP(S*  -   -   -   Speaker#1   *   {'(1)' if word == 'it' else '-'}\n"
        for word in WORDS[1]
    )
    + "\n#end document\n",
    "words alone": "#begin document x\nThe (1\nraven 1)\nspoke -\n\nit (1)\nwas -\n( -\nblack -\n) -\n. -\n#end document\n",
}


def text_of(sentences: list[str], entities: list[list[tuple[int, int]]] | None = None) -> Text:
    return Text(name="d", sentences=[sentence.split() for sentence in sentences], entities=entities or [])


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_words_sentences_and_entities_are_read_of_each_source(source: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(source, "utf-8")
    (text,) = read_texts(path).texts
    assert [list(sentence) for sentence in text.sentences] == WORDS
    assert text.entities == ENTITIES
    write_conll(tmp_path / "b.conll", {text.name: (text.sentences, text.entities)})
    assert read_texts(tmp_path / "b.conll").texts == [text]


def test_columns_that_do_not_tell_the_word_are_refused_by_their_line_and_scored_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(b"#begin document d\nd\t0\t0\tone\t-\nd\t0\tone\t-\n#end document\n")
    with pytest.raises(CorpusError, match=r"found 4 columns, expected 2 .*, 3 .*, or 5 or more") as error:
        read_texts(path)
    assert error.value.line == 3
    assert read_conll(path)["d"].tokens == 2
    path.write_bytes(b"#begin document d\n0\tcaf\xe9\t-\n#end document\n")
    with pytest.raises(CorpusError, match="not UTF-8") as error:
        read_texts(path)
    assert error.value.line == 2


def test_brackets_and_mentions_that_cannot_count_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    cells = ["(1", "1)|(2", "(1)|(3)", "4)"]
    lines = "".join(f"{number}\tw\t{cell}\n" for number, cell in enumerate([*cells, "(5)|(6)"]))
    path.write_text(f"#begin document d\n{lines}#end document\n#begin document empty\n#end document\n", "utf-8")
    with pytest.raises(CorpusError, match="closes what nothing opened"):
        read_texts(path)
    found = read_texts(path, OnError.SKIP)
    first, empty = found.texts
    assert first.entities == [[(0, 1), (2, 2)], [(4, 4)]]
    assert found.left_out == {Fault.UNPAIRED: 2, Fault.REPEATED: 2}
    assert (empty.sentences, empty.entities, empty.words) == ((), [], [])


def literal_bounds(sentences: list[list[int]], room: int) -> list[int]:
    """Sentence by sentence as long as they fit; one that does not, word by word; a word that does not, piece by piece."""
    ends = [sum(sum(words) for words in sentences[: number + 1]) for number in range(len(sentences))]
    words = [count for held in sentences for count in held]
    word_ends = [sum(words[: number + 1]) for number in range(len(words))]
    bounds = [0]
    while bounds[-1] < sum(words):
        begin = bounds[-1]
        fits = list(range(begin + 1, min(begin + room, sum(words)) + 1))
        best = [end for end in fits if end == sum(words)] or [end for end in fits if end in ends]
        best = best or [end for end in fits if end in word_ends] or fits
        bounds.append(best[-1])
    return bounds


def test_segments_end_where_sentences_end_else_where_words_do() -> None:
    rng = random.Random(5)
    kinds = set()
    for _ in range(300):
        sentences = [[rng.choice((1, 1, 2, 9)) for _ in range(rng.randint(1, 7))] for _ in range(rng.randint(1, 6))]
        room = rng.randint(3, 14)
        ends = np.cumsum([sum(held) for held in sentences])
        words = np.cumsum([count for held in sentences for count in held])
        found = segment_bounds(words, ends, room)
        assert found.tolist() == literal_bounds(sentences, room)
        assert (np.diff(found) <= room).all()
        kinds |= {"sentence" if end in ends else "word" if end in words else "piece" for end in found[1:].tolist()}
    assert kinds == {"sentence", "word", "piece"}
    assert segment_bounds(np.zeros(0, np.int64), np.zeros(0, np.int64), 5).tolist() == [0]


def test_segments_hold_all_pieces_between_special_tokens() -> None:
    texts = [text_of(["the raven was black .", "it spoke ."] * 9), text_of([]), text_of(["nevermore"])]
    tokenizer = Tokenizer(vocabulary())
    found = cut_texts(texts, tokenizer, CorefConfig(segment=12))
    special = tokenizer.vocabulary.special
    rows = [found.examples.input_ids[number].tolist() for number in range(len(found.examples))]
    assert all(row[0] == special.cls and row[-1] == special.sep and len(row) <= 12 for row in rows)
    for number, text in enumerate(texts):
        whole = tokenizer.encode([" ".join(text.words)]).token_ids.tolist()
        own = np.flatnonzero(found.examples.groups == number)
        assert (
            [piece for row in own.tolist() for piece in rows[row][1:-1]] == whole == found.cut[number].pieces.tolist()
        )
        assert found.examples.targets["segments"][own].tolist() == list(range(len(own)))
    assert found.examples.groups.tolist() == [0] * 9 + [2]
    assert (found.examples.targets["documents"] == found.examples.groups).all()


def test_each_word_has_the_pieces_that_it_has_alone_and_one_that_has_none_is_unknown() -> None:
    """Of BERT's vocabulary; of the words that it makes nothing of, one is at each end."""
    words = ["�", "The", "unaffable", "Gräfin", "-LRB-", "did", "n't", "�", "embark", "/.", "\u200b�"]
    tokenizer = Tokenizer("cased")
    found = cut_texts([Text(name="d", sentences=[words], entities=[])], tokenizer, CorefConfig())
    (cut,) = found.cut
    entries = tokenizer.vocabulary.entries
    pieces = [[entries[piece] for piece in cut.pieces[a : b + 1]] for a, b in zip(cut.first, cut.last, strict=True)]
    alone = {"-LRB-": "(", "/.": "."}
    for word, own in zip(words, pieces, strict=True):
        wanted = [entries[piece] for piece in tokenizer.encode([alone.get(word, word)]).token_ids]
        assert own == (wanted or ["[UNK]"])
    assert found.unknown.tolist() == [3]
    assert [len(own) for own in pieces].count(1) < len(words)


def test_words_that_are_equal_in_any_case_share_a_number_and_no_others() -> None:
    words = ["The", "raven", "the", "Raven", "STRASSE", "Straße", "ravens", "-LRB-", "the"]
    (cut,) = cut_texts([text_of([" ".join(words[:4]), " ".join(words[4:])])], Tokenizer("cased"), CorefConfig()).cut
    assert cut.texts.tolist() == [0, 1, 0, 1, 2, 2, 3, 4, 0]


def test_spans_of_a_part_are_those_of_the_whole_that_lie_in_it() -> None:
    rng = random.Random(6)
    words = [rng.choice(["the", "raven", "nevermore"]) for _ in range(40)]
    entities = [[(3, 4), (9, 9), (20, 26)], [(9, 10), (37, 39)], [(0, 9)]]
    text = Text(name="d", sentences=[words[:11], words[11:12], words[12:]], entities=entities)
    (cut,) = cut_texts([text], Tokenizer(vocabulary()), CorefConfig()).cut
    home = {mention: number for number, held in enumerate(entities) for mention in held}
    for begin, end in [(0, 40), (3, 12), (10, 40), (5, 5), (39, 40)]:
        spans = [
            (start - begin, last - begin)
            for start in range(begin, end)
            for last in range(start, end)
            if cut.sentences[start] == cut.sentences[last] and cut.last[last] - cut.first[start] < 6
        ]
        counts = reaches(cut, begin, end, 6).tolist()
        assert [(start, start + size) for start, count in enumerate(counts) for size in range(count)] == spans
    reached = {home[span] for span in home if cut.last[span[1]] - cut.first[span[0]] < 6}
    assert unreached(cut, 6)[Fault.LONG] == 2
    assert reached
    across = Text(name="d", sentences=[words[:11], words[11:]], entities=[[(10, 11), (2, 2)]])
    (cut,) = cut_texts([across], Tokenizer(vocabulary()), CorefConfig()).cut
    assert unreached(cut, 6) == {Fault.ACROSS: 1}


def test_folds_divide_documents_by_their_names_parts_of_one_together() -> None:
    names = [f"({number}_novel_brat); part 0" for number in range(1000)]
    sizes = np.bincount([fold(name, 10) for name in names], minlength=11)
    # Binomial of mean 100, deviation 9.5: five of them off once in some 10⁵ such tests.
    assert sizes[0] == 0
    assert abs(sizes[1:] - 100).max() < 48
    assert {fold(f"(nw/a); part 00{part}", 7) for part in range(9)} == {fold("nw/a", 7)}
    assert [fold("GENTLE_poetry_road.conll", folds) for folds in (1, 2, 10)] == [1, 1, 9]


@pytest.mark.slow
@pytest.mark.data
@needs_coref
def test_real_documents_are_cut_and_their_mentions_found(tell: Callable[[str], None]) -> None:
    with pytest.raises(CorpusError, match=r"GENTLE_poetry_road\.conll"):
        read_texts(DATA / "gum_ontogum_conll.tar.gz")
    tokenizer = Tokenizer("cased")
    for name in ("litbank_coref_conll", "gum_ontogum_conll"):
        read = read_texts(DATA / f"{name}.tar.gz", OnError.SKIP)
        found = cut_texts(read.texts, tokenizer, CorefConfig())
        total = sum(sum(map(len, text.entities)) for text in read.texts)
        missed = sum((unreached(cut, 30) for cut in found.cut), start=unreached(found.cut[0], 1000))
        tell(
            f"{name}: {len(read.texts)} documents, {total:,} mentions, {dict(read.left_out)}, out of reach {dict(missed)}"
        )
        assert sum(missed.values()) < 0.02 * total
        assert sum(len(cut.pieces) for cut in found.cut) == len(found.examples.input_ids.values) - 2 * len(
            found.examples
        )
    assert read.left_out[Fault.UNPAIRED] == 2
