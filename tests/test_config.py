"""Configuration: defaults, TOML, canonical JSON, fingerprints, and every value that is refused."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmask.config import (
    OnError,
    PreshardConfig,
    RandomIds,
    ReplacementUnit,
    Sampler,
    Scheme,
    canonical_json,
    fingerprint,
)
from spanmask.errors import ConfigError


def of(**options: Any) -> PreshardConfig:
    return PreshardConfig.of(**{"seed": 1, **options})


def test_the_defaults_are_those_promised() -> None:
    assert of().to_json() == {
        "corpus": {
            "format": "auto",
            "keep": [],
            "layout": "sentences",
            "exclude": [],
            "encoding": "utf-8",
            "max_document_bytes": 256 << 20,
            "on_error": "fail",
            "spans_field": None,
            "text_field": "text",
            "words_field": None,
        },
        "masking": {
            "geometric_p": 0.2,
            "mask_epoch": 0,
            "mask_ratio": 0.15,
            "max_words": 10,
            "random_ids": "uniform",
            "replacement_unit": "span",
            "sampler": "paper",
            "scheme": "span",
            "seed": 1,
        },
        "output": {"holdout": 0.0, "shard_bytes": 32 << 20},
        "sequence": {"max_tokens": 512, "min_tokens": 8, "segmentation": "fill"},
        "vocabulary": {"cased": None, "vocab": "cased"},
    }


@pytest.mark.parametrize(
    ("options", "sampler", "unit", "random_ids"),
    [
        ({"scheme": "span"}, Sampler.PAPER, ReplacementUnit.SPAN, RandomIds.UNIFORM),
        ({"scheme": "span", "sampler": "reference"}, Sampler.REFERENCE, ReplacementUnit.SPAN, RandomIds.UNIGRAM),
        ({"scheme": "word"}, None, ReplacementUnit.TOKEN, RandomIds.UNIFORM),
        ({"scheme": "token"}, None, ReplacementUnit.TOKEN, RandomIds.UNIFORM),
        ({"scheme": "annotated", "spans_field": "s"}, None, ReplacementUnit.SPAN, RandomIds.UNIFORM),
        (
            {"scheme": "word", "replacement_unit": "word", "random_ids": "unigram"},
            None,
            ReplacementUnit.WORD,
            RandomIds.UNIGRAM,
        ),
    ],
)
def test_a_scheme_has_its_own_defaults(options: dict[str, Any], sampler: Any, unit: Any, random_ids: Any) -> None:
    masking = of(**options).masking
    assert (masking.sampler, masking.replacement_unit, masking.random_ids) == (sampler, unit, random_ids)


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("unit", list(ReplacementUnit))
def test_only_pairs_with_a_meaning_are_accepted(scheme: Scheme, sampler: Sampler, unit: ReplacementUnit) -> None:
    """The table of DESIGN's section on masking."""
    units = {
        Scheme.SPAN: set(ReplacementUnit),
        Scheme.ANNOTATED: set(ReplacementUnit),
        Scheme.WORD: {ReplacementUnit.WORD, ReplacementUnit.TOKEN},
        Scheme.TOKEN: {ReplacementUnit.TOKEN},
    }
    field = {"spans_field": "s"} if scheme is Scheme.ANNOTATED else {}
    if scheme is not Scheme.SPAN:
        with pytest.raises(ConfigError, match=f"sampler {sampler} goes with scheme span only, not with {scheme}"):
            of(scheme=scheme, sampler=sampler, **field)
    elif unit in units[scheme]:
        of(scheme=scheme, sampler=sampler, replacement_unit=unit)
    if unit in units[scheme]:
        of(scheme=scheme, replacement_unit=unit, **field)
    else:
        with pytest.raises(ConfigError, match=f"replacement_unit {unit} does not go with scheme {scheme}"):
            of(scheme=scheme, replacement_unit=unit, **field)


ACCEPTED = [
    {"seed": 0},
    {"seed": 2**64 - 1},
    {"max_tokens": 3, "min_tokens": 0},
    {"max_tokens": 65_535, "min_tokens": 65_535},
    {"mask_ratio": 0.999},
    {"mask_ratio": 1e-9},
    {"geometric_p": 0.999},
    {"max_words": 1},
    {"max_words": 1000},
    {"mask_epoch": 65_535},
    {"holdout": 0},
    {"holdout": 0.999},
    {"shard_bytes": 1 << 10},
    {"shard_bytes": 1 << 30},
    {"max_document_bytes": 1},
    {"max_document_bytes": 1 << 40},
    {"keep": ["a", "b"]},
]


@pytest.mark.parametrize("options", ACCEPTED, ids=str)
def test_the_limits_themselves_are_accepted(options: dict[str, Any]) -> None:
    config = of(**options)
    assert PreshardConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


REFUSED = [
    ({"seed": -1}, "seed is -1: give a whole number from 0 to"),
    ({"seed": 2**64}, "seed is 18446744073709551616"),
    ({"seed": "7"}, "seed is '7': give a whole number"),
    ({"seed": True}, "seed is True"),
    ({"seed": 1.0}, "seed is 1.0"),
    ({"seed": None}, "seed is None"),
    ({"max_tokens": 2}, "max_tokens is 2: give 3 to 65535"),
    ({"max_tokens": 65_536}, "max_tokens is 65536"),
    ({"min_tokens": -1}, "min_tokens is -1"),
    ({"min_tokens": 513}, r"min_tokens is 513: give 0 to max_tokens \(512\)"),
    ({"mask_ratio": 0}, "mask_ratio is 0.0"),
    ({"mask_ratio": 1.0}, "mask_ratio is 1.0"),
    ({"mask_ratio": float("nan")}, "mask_ratio is nan"),
    ({"mask_ratio": float("inf")}, "mask_ratio is inf"),
    ({"mask_ratio": "0.15"}, "mask_ratio is '0.15'"),
    ({"geometric_p": 0.0}, "geometric_p is 0.0"),
    ({"geometric_p": 1.0}, "geometric_p is 1.0"),
    ({"geometric_p": float("nan")}, "geometric_p is nan"),
    ({"max_words": 0}, "max_words is 0"),
    ({"max_words": 1001}, "max_words is 1001"),
    ({"mask_epoch": -1}, "mask_epoch is -1"),
    ({"mask_epoch": 65_536}, "mask_epoch is 65536"),
    ({"holdout": -0.1}, "holdout is -0.1"),
    ({"holdout": 1}, "holdout is 1.0"),
    ({"holdout": float("nan")}, "holdout is nan"),
    ({"shard_bytes": 1023}, "shard_bytes is 1023"),
    ({"shard_bytes": (1 << 30) + 1}, "shard_bytes is"),
    ({"max_document_bytes": 0}, "max_document_bytes is 0"),
    ({"max_document_bytes": (1 << 40) + 1}, "max_document_bytes is"),
    ({"scheme": "spam"}, "scheme is 'spam': give one of span, word, token, annotated"),
    ({"format": "xls"}, "format is 'xls': give one of auto, text, jsonl, json, csv, tsv, parquet, arrow"),
    ({"layout": "x"}, "give one of sentences, documents"),
    ({"on_error": "x"}, "give one of fail, skip"),
    ({"segmentation": "x"}, "give one of fill, sentence"),
    ({"cased": "yes"}, "cased is 'yes'"),
    ({"keep": "id"}, "keep is 'id': give a list of field names"),
    ({"keep": ["id", 3]}, "give a list of field names"),
    ({"keep": ["id", "id"]}, "field 'id' is named twice"),
    ({"keep": ["text"]}, "field 'text' is named twice"),
    ({"text_field": ""}, "a field's name is empty"),
    ({"keep": [""]}, "a field's name is empty"),
    ({"scheme": "annotated"}, "go together: give both or neither"),
    ({"spans_field": "s"}, "go together: give both or neither"),
    ({"max_token": 3}, "unknown option 'max_token'; did you mean 'max_tokens'"),
    ({"zzz": 3}, "unknown option 'zzz'; known: cased, encoding, exclude, format"),
]


@pytest.mark.parametrize(
    ("options", "message"), REFUSED, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_a_bad_value_is_refused_with_what_to_give(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        of(**options)


def test_a_missing_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"seed is missing.*give --seed N"):
        PreshardConfig.of()


def test_configurations_are_frozen_and_strings_become_policies() -> None:
    config = of(on_error="skip")
    assert config.corpus.on_error is OnError.SKIP
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.corpus.on_error = OnError.FAIL  # type: ignore[misc]


def test_every_option_has_one_owner_and_its_flat_name_is_unique() -> None:
    names = PreshardConfig.option_names()
    fields = [field for section in of().to_json().values() for field in section]
    assert sorted(names) == sorted(fields)
    assert len(fields) == len(set(fields))


@pytest.mark.parametrize(
    ("value", "fraction"), [(0.15, Fraction(3, 20)), (0.1, Fraction(1, 10)), (1e-05, Fraction(1, 100_000))]
)
def test_ratios_are_the_rationals_that_their_digits_write(value: float, fraction: Fraction) -> None:
    masking = of(mask_ratio=value, geometric_p=value).masking
    assert masking.mask_fraction == masking.geometric_fraction == fraction


# --- TOML


def test_a_file_is_flat_and_named_like_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('seed = 7\nmax_tokens = 128\nkeep = ["id"]\nscheme = "word"\nmask_ratio = 0.2\ncased = true # é\n')
    options = PreshardConfig.read_toml(path)
    assert options == {"seed": 7, "max_tokens": 128, "keep": ["id"], "scheme": "word", "mask_ratio": 0.2, "cased": True}
    assert PreshardConfig.of(**options).sequence.max_tokens == 128


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"max_tokes = 3", r"c\.toml: unknown option 'max_tokes'; did you mean 'max_tokens'\?"),
        (b"[masking]\nseed = 3", r"c\.toml: unknown option 'masking'"),
        (b"seed = ", r"c\.toml: not a readable TOML file"),
        (b"seed = 1\nseed = 2", r"c\.toml: not a readable TOML file"),
        (b"\xff", r"c\.toml: not a readable TOML file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        PreshardConfig.read_toml(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        PreshardConfig.read_toml(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        PreshardConfig.read_toml(tmp_path)


# --- Canonical JSON and fingerprints

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('aé漢\n"', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_json_is_one_text_that_reads_back(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


def test_canonical_json_sorts_keys_and_leaves_out_white_space() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
    assert fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_what_is_no_number_is_no_json(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_the_fingerprint_changes_with_every_option() -> None:
    changed: dict[str, Any] = {
        "format": "text",
        "layout": "documents",
        "text_field": "t",
        "words_field": "w",
        "keep": ["k"],
        "on_error": "skip",
        "exclude": ["id=ids.txt"],
        "encoding": "latin-1",
        "max_document_bytes": 1 << 20,
        "vocab": "uncased",
        "cased": True,
        "segmentation": "sentence",
        "max_tokens": 128,
        "min_tokens": 9,
        "seed": 2,
        "scheme": "word",
        "sampler": "reference",
        "mask_ratio": 0.2,
        "geometric_p": 0.3,
        "max_words": 9,
        "replacement_unit": "token",
        "random_ids": "unigram",
        "mask_epoch": 1,
        "holdout": 0.1,
        "shard_bytes": 1 << 20,
    }
    assert changed.keys() | {"spans_field"} == set(PreshardConfig.option_names())
    prints = {fingerprint(of(**{name: value}).to_json()) for name, value in changed.items()}
    assert len(prints | {fingerprint(of().to_json())}) == len(changed) + 1
