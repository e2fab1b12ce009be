"""What is annotated, with which pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from spanmask.config import CorpusConfig, FieldName, Size
from spanmask.errors import ConfigError
from spanmask.options import Form, Options

#: What a pipeline is named after in `AnnotateConfig.pipeline`: the library that has it.
SPACY = "spacy:"
#: The labels of OntoNotes 5 that are values and no names: the entities that the paper leaves out as numerical (§6.1).
NUMERICAL = ("CARDINAL", "DATE", "MONEY", "ORDINAL", "PERCENT", "QUANTITY", "TIME")
#: Given alone as a label to leave out: none is.
NONE = "none"


class Spans(StrEnum):
    """What is looked for: named entities, or base noun phrases."""

    ENTITIES = "entities"
    NOUN_CHUNKS = "noun_chunks"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateConfig(Options):
    """Everything that decides the bytes that `annotate` writes, but for its inputs and the pipeline's own files.

    Attributes
    ----------
    pipeline
        spaCy pipeline: the name of an installed one, or its folder. [required]
    spans
        What is looked for. [required]
    omit
        Label of entities to leave out; may be repeated; none: leave none out. [those of numbers, dates and times]
    disable
        Component of the pipeline to leave out; may be repeated.
    into
        Field that the ranges are written to. [what --spans says]
    max_characters
        Longer documents are cut, at an end of a paragraph, line or sentence, before the pipeline has them.
    unit_bytes
        Text that is saved as one. [1MiB]
    """

    pipeline: Annotated[str, Form(f"{SPACY}MODEL, a pipeline that is installed or its folder", f"{SPACY}MODEL")]
    spans: Spans
    omit: Annotated[tuple[str, ...] | None, Form("a list of labels", "LABEL")] = None
    disable: Annotated[tuple[str, ...], Form("a list of names of components", "NAME")] = ()
    into: FieldName | None = None
    max_characters: int = 100_000
    unit_bytes: Size = 1 << 20
    corpus: CorpusConfig = field(default_factory=CorpusConfig)

    def _check(self) -> None:
        self._require(
            lambda value: value.startswith(SPACY) and value != SPACY,
            f"{SPACY}MODEL, a pipeline that is installed or its folder, such as {SPACY}en_core_web_sm",
            "pipeline",
        )
        self._require(lambda value: 1000 <= value <= 1 << 30, "a number of characters from 1,000", "max_characters")
        self._require(lambda value: 1 << 10 <= value <= 1 << 30, "1KiB to 1GiB of text", "unit_bytes")
        if self.spans is Spans.NOUN_CHUNKS and self.omit:
            raise ConfigError(
                "omit goes with spans entities: noun chunks have no labels; leave it out", options=("omit",)
            )
        self._fill(into=str(self.spans), omit=NUMERICAL if self.spans is Spans.ENTITIES else ())
        if self.omit == (NONE,):
            object.__setattr__(self, "omit", ())
        for name in ("spans_field", "words_field"):
            if getattr(self.corpus, name) is not None:
                raise ConfigError(f"{name} is given: ranges are written here, and none are read; leave it out")
        if self.into in (self.corpus.text_field, *self.corpus.keep):
            raise ConfigError(
                f"into is {self.into!r}: the output has another field of that name; give another", options=("into",)
            )

    @property
    def model(self) -> str:
        """The name or folder of the pipeline."""
        return self.pipeline.removeprefix(SPACY)
