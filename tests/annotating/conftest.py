"""What the tests of annotating share: real spaCy pipelines in folders, made here, and texts in which they find something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

spacy = pytest.importorskip("spacy", reason="spaCy is in the extras spacy and test")

#: A person, places, numbers, a date, and what no label is for.
TEXTS = [
    "Ada Lovelace met Charles Babbage in London on 5 June 1833.",
    "naïve Ωmega 🙂 Ada Lovelace",
    "",
    "Nobody was there.\n12 of them left London .",
    "  \n ",
    "Charles Babbage \n\nAda Lovelace\n\nLondon\n",
]
_NAMES = {"PERSON": ["Ada Lovelace", "Charles Babbage "], "GPE": ["London"], "DATE": ["5 June 1833"]}


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose entities are rules, one of which takes the white space behind a name along."""
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": name} for label, names in _NAMES.items() for name in names])
    ruler.add_patterns([{"label": "PERSON", "pattern": "Charles Babbage"}])
    ruler.add_patterns([{"label": "PERSON", "pattern": [{"LOWER": "babbage"}, {"IS_SPACE": True}]}])
    ruler.add_patterns([{"label": "CARDINAL", "pattern": [{"LIKE_NUM": True}]}])
    ruler.add_patterns([{"label": "GPE", "pattern": [{"IS_SPACE": True}]}])
    folder = tmp_path_factory.mktemp("pipelines") / "rules"
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a small parser that was trained on three sentences, and nouns by rule."""
    from spacy.tokens import Doc
    from spacy.training import Example

    spacy.util.fix_random_seed(1)
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    embedding = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 16,
        "depth": 1,
        "embed_size": 50,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": False,
    }
    model = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 1,
        "nO": None,
        "use_upper": True,
        "tok2vec": embedding,
    }
    nlp.add_pipe("parser", config={"min_action_freq": 1, "model": model})
    examples = []
    for sentence in ("the cat saw the black dog .", "a dog had the big ball .", "the mat saw a new hat ."):
        words = sentence.split()
        parsed = Doc(
            nlp.vocab,
            words=words,
            heads=[1, 2, 2, 5, 5, 2, 2],
            deps=["det", "nsubj", "ROOT", "det", "amod", "dobj", "punct"],
        )
        examples.append(Example(nlp.make_doc(sentence), parsed))
    optimizer = nlp.initialize(lambda: examples)
    nouns = [{"LOWER": {"IN": ["cat", "mat", "dog", "hat", "ball"]}}]
    ruler.add_patterns([{"patterns": [nouns, [{"IS_TITLE": True}]], "attrs": {"POS": "NOUN"}}])
    for _ in range(25):
        nlp.update(examples, sgd=optimizer)
    folder = tmp_path_factory.mktemp("pipelines") / "phrases"
    nlp.to_disk(folder)
    return folder


def write_lines(path: Path, texts: list[str], **more: Any) -> Path:
    """Write texts as JSON lines, each with its number."""
    rows = [{"id": number, "text": text, **more} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, compressed or not, by Arrow's streams."""
    kind = {".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    with pa.OSFile(str(path)) as file:
        data = file.read() if kind is None else pa.CompressedInputStream(file, kind).read()
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def literal(rules: Path) -> Callable[[str], list[list[int]]]:
    """The ranges of a text as spaCy alone finds them, numbers and dates left out: a character at a time."""
    nlp = spacy.load(rules)

    def ranges(text: str) -> list[list[int]]:
        found = []
        for entity in nlp(text).ents:
            inside = [at for at in range(entity.start_char, entity.end_char) if not text[at].isspace()]
            if inside and entity.label_ in ("PERSON", "GPE"):
                found.append([inside[0], inside[-1] + 1])
        return found

    return ranges
