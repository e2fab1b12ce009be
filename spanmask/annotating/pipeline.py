"""A spaCy pipeline: texts flow in, ranges of entities or noun chunks in code points flow out. The one module that imports spaCy.

https://spacy.io/api/language; loading a pipeline runs code of its package.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from spanmask._lazy import told_by_extra
from spanmask.annotating.config import NUMERICAL, AnnotateConfig, Spans
from spanmask.annotating.pieces import pieces_of
from spanmask.annotating.record import Tally
from spanmask.config import fingerprint
from spanmask.errors import ConfigError
from spanmask.options import hint_for
from spanmask.storage import digest, refuse_url

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span

#: What a component says that it sets, by what is looked for, and which of spaCy's own do.
_SETS = {
    Spans.ENTITIES: ("doc.ents", "ner or entity_ruler"),
    Spans.NOUN_CHUNKS: ("token.dep", "parser"),
}


@dataclass(slots=True, kw_only=True)
class Found:
    """What was found in some texts. ranges: of each text, (start, end) in its code points, ascending. tally: counts."""

    ranges: list[list[tuple[int, int]]]
    tally: Tally = field(default_factory=Tally)


class Pipeline:
    """A pipeline that was loaded and can find what is asked for."""

    def __init__(self, nlp: Language, config: AnnotateConfig) -> None:
        self._nlp = nlp
        self._spans = config.spans
        self._omit = frozenset(config.omit or ())
        self._most = min(config.max_characters, nlp.max_length)

    @classmethod
    def load(cls, config: AnnotateConfig) -> Self:
        """Load the pipeline of a configuration.

        Raises
        ------
        MissingExtraError
            spaCy is not installed.
        ConfigError
            The pipeline is not there, cannot be loaded, or cannot find what is asked for.
        """
        nlp = _loaded(config)
        _require_component(nlp, config)
        _require_labels(nlp, config)
        return cls(nlp, config)

    def describe(self) -> dict[str, Any]:
        """Return what the pipeline is, as plain JSON values: what decides its ranges, and nothing of this machine."""
        import spacy

        nlp = self._nlp
        return {
            "spacy": spacy.__version__,
            "name": f"{nlp.lang}_{nlp.meta['name']}",
            "version": nlp.meta["version"],
            "sha256": None if nlp.path is None else _digest_of(nlp.path),
            "components": list(nlp.pipe_names),
            "labels": _labels(nlp) if self._spans is Spans.ENTITIES else [],
            "longest_piece": self._most,
        }

    def find(self, texts: Sequence[str]) -> Found:
        """Find what is asked for in some texts, the same in each process.

        Raises
        ------
        ConfigError
            The pipeline changes the text, so that its offsets are of another one.
        """
        found = Found(ranges=[[] for _ in texts])
        for batch in self._batches(texts, found):
            # What a text adds to the vocabulary goes with it: else that would grow without end.
            with self._nlp.memory_zone():
                docs = self._nlp.pipe([text for _, _, text in batch], batch_size=len(batch))
                for (number, start, text), doc in zip(batch, docs, strict=True):
                    found.ranges[number] += self._ranges(doc, text, start, found)
        found.ranges = [sorted(set(ranges)) for ranges in found.ranges]
        found.tally.without = found.ranges.count([])
        return found

    def _batches(self, texts: Sequence[str], found: Found) -> Iterator[list[tuple[int, int, str]]]:
        """Yield pieces as (text, start, piece), those of about one longest piece together: texts alone decide what is computed at once."""
        batch, size = list[tuple[int, int, str]](), 0
        for number, text in enumerate(texts):
            pieces = [*pieces_of(text, self._most)]
            found.tally.cuts.update(piece.cut for piece in pieces if piece.cut is not None)
            found.tally.cut += len(pieces) > 1
            for start, end, _ in pieces:
                if batch and size + end - start > self._most:
                    yield batch
                    batch, size = [], 0
                if not text[start:end].isspace() and start < end:
                    batch.append((number, start, text[start:end]))
                    size += end - start
        if batch:
            yield batch

    def _ranges(self, doc: Doc, text: str, start: int, found: Found) -> Iterator[tuple[int, int]]:
        for span in self._spans_of(doc, text):
            inner = span.text.strip()
            if not inner:
                found.tally.blank += 1
            elif span.label_ in self._omit:
                found.tally.omitted[span.label_] += 1
            else:
                found.tally.ranges[span.label_] += 1
                begin = span.start_char + len(span.text) - len(span.text.lstrip())
                yield start + begin, start + begin + len(inner)

    def _spans_of(self, doc: Doc, text: str) -> Iterator[Span]:
        for span in doc.ents if self._spans is Spans.ENTITIES else doc.noun_chunks:
            if text[span.start_char : span.end_char] != span.text or not span.text:
                told = f"has {span.text!r:.60} at {span.start_char}, where the text has {text[span.start_char : span.end_char]!r:.60}"
                raise ConfigError(f"the pipeline changes the text: it {told}; its tokenizer must keep every character")
            yield span


def _loaded(config: AnnotateConfig) -> Language:
    refuse_url(config.model)
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise told_by_extra("annotate", error) from None
    try:
        nlp = spacy.load(config.model, disable=list(config.disable))
    except Exception as error:
        if _is_there(config.model):
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"{config.pipeline}: spaCy {spacy.__version__} cannot load it ({type(error).__name__}: {reason:.300}); "
                "install what it needs, or one for this spaCy"
            ) from error
        installed = ", ".join(sorted(spacy.util.get_installed_models())) or "none"
        raise ConfigError(
            f"{config.pipeline}: no pipeline of that name is installed, and there is no such folder (installed: {installed}); "
            f"python -m spacy download {config.model} brings one of spaCy's, pip install one that was saved as a package"
        ) from None
    for name in config.disable:
        if name not in nlp.component_names:
            raise ConfigError(
                f"disable: the pipeline has no component {name!r}; {hint_for(name, nlp.component_names)}",
                options=("disable",),
            )
    return nlp


def _is_there(model: str) -> bool:
    import spacy

    return spacy.util.is_package(model) or Path(model).exists() or model.startswith("blank:")


def _require_component(nlp: Language, config: AnnotateConfig) -> None:
    """Refuse a pipeline that cannot find what is asked for; components say what they set (spaCy's ``assigns``)."""
    sets, own = _SETS[config.spans]
    able = [name for name in nlp.pipe_names if sets in _assigned(nlp, name)]
    if not able:
        there = ", ".join(nlp.pipe_names) or "none"
        raise ConfigError(
            f"{config.pipeline}: no component of it finds {config.spans} ({own}, or one of yours that says it assigns {sets!r}); "
            f"it has {there}: give another pipeline"
        )
    if config.spans is Spans.NOUN_CHUNKS and nlp.vocab.get_noun_chunks is None:
        raise ConfigError(
            f"{config.pipeline}: spaCy knows no noun chunks in its language, {nlp.lang!r}; give another pipeline, or --spans entities"
        )


def _assigned(nlp: Language, name: str) -> list[str]:
    # A span ruler sets entities where it is told to.
    own = ["doc.ents"] if getattr(nlp.get_pipe(name), "annotate_ents", False) else []
    return [*nlp.get_pipe_meta(name).assigns, *own]


def _require_labels(nlp: Language, config: AnnotateConfig) -> None:
    """Refuse labels to leave out that the pipeline does not have, where they were asked for."""
    labels = _labels(nlp)
    for label in config.omit or ():
        if config.omit != NUMERICAL and labels and label not in labels:
            raise ConfigError(
                f"omit: the pipeline has no label {label!r}; {hint_for(label, labels)}", options=("omit",)
            )


def _labels(nlp: Language) -> list[str]:
    able = [name for name in nlp.pipe_names if "doc.ents" in _assigned(nlp, name)]
    return sorted({label for name in able for label in nlp.pipe_labels.get(name, ())})


def _digest_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return fingerprint({path.relative_to(folder).as_posix(): digest(path) for path in files})


def quietly(config: AnnotateConfig) -> Pipeline:
    """Load a pipeline that was loaded before, in another process too: what it warns of was told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Pipeline.load(config)
