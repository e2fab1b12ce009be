"""Which tokenizers are compiled: what a ``tokenizer.json`` says, taken apart into what the kernels know, or the reason why they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spanmask.kernels.metaspace import Metaspace
from spanmask.kernels.patterns import Splitter
from spanmask.pieces import steps_of
from spanmask.tokenization.metaspace import marks_of
from spanmask.tokenization.patterns import splitter_of

#: The options of models that are followed, whatever their value, and the others with the values that leave them out of account.
_FOLLOWED = {
    "BPE": {"type", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"},
    "Unigram": {"type", "unk_id", "byte_fallback", "vocab"},
}
_LEFT_OUT: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "alpha": (None, 0),
    "nbest_size": (None, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a tokenizer takes text. normalizer: its steps; splitter: what are pre-tokens; model: that of its tokenizer.json."""

    normalizer: list[dict[str, Any]]
    splitter: Splitter | Metaspace
    model: dict[str, Any]


def recipe_of(content: dict[str, Any]) -> Recipe | str:
    """Return how a tokenizer is compiled, or in one line why it is not.

    Parameters
    ----------
    content
        Its tokenizer.json, from `spanmask.tokenization.library.load_for_text`.
    """
    reason = _unknown_option(content["model"])
    if reason is not None:
        return reason
    normalizer, steps = (steps_of(content[part]) for part in ("normalizer", "pre_tokenizer"))
    if content["model"]["type"] == "BPE" and any(step["type"] == "ByteLevel" for step in (*normalizer, *steps)):
        splitter: Splitter | Metaspace | str = splitter_of(steps)
    else:
        normalizer, splitter = marks_of(normalizer, steps)
    if isinstance(splitter, str):
        return splitter
    if isinstance(splitter, Splitter) and splitter.adds_space and content["model"].get("ignore_merges"):
        return "its model ignores merges, and its pre-tokenizer adds a space"
    if isinstance(splitter, Metaspace) and normalizer != steps_of(content["normalizer"]) and _normalizes_names(content):
        return "its normalizer writes ▁ for spaces, also in its added tokens"
    return Recipe(normalizer=normalizer, splitter=splitter, model=content["model"])


def _normalizes_names(content: dict[str, Any]) -> bool:
    return any(token["normalized"] for token in content.get("added_tokens", []))


def _unknown_option(model: dict[str, Any]) -> str | None:
    if model["type"] not in _FOLLOWED:
        return f"its model is {model['type']}"
    others = {name: value for name, value in model.items() if name not in _FOLLOWED[model["type"]]}
    return next(
        (f"its model's {name} is {value!r}" for name, value in others.items() if value not in _LEFT_OUT.get(name, ())),
        None,
    )
