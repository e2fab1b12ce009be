"""Every configuration, however it is made: one result for a constructor, `of`, JSON, a TOML file and the command line."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from spanmask_cli import export, preshard, probe_qa, train, vocab
from spanmask_cli.options import GroupedCommand, config_options, given

import spanmask
from spanmask.annotating.config import AnnotateConfig
from spanmask.config import CorpusConfig, MaskingConfig, PreshardConfig, Scheme, SequenceConfig, VocabularyConfig
from spanmask.errors import ConfigError, CorpusError
from spanmask.exporting.config import ExportConfig
from spanmask.loading.config import LoadConfig
from spanmask.options import Form, Kind, Options, hint_for, is_section, kinds
from spanmask.train.config import Decay, TrainConfig
from spanmask.vocabularies.config import ExtendingConfig, TrainingConfig

for found in pkgutil.walk_packages(spanmask.__path__, "spanmask."):
    importlib.import_module(found.name)


def _below(kind: type[Options]) -> Iterator[type[Options]]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)


#: ``slots=True`` makes a class anew: that without slots may be there still.
CONFIGS = sorted(
    {kind for kind in _below(Options) if kind.__module__.startswith("spanmask.") and "__slots__" in vars(kind)},
    key=lambda kind: kind.__name__,
)
#: What is out of range, by option. An option whose every number is right has none.
BEYOND: dict[str, dict[str, tuple[Any, ...]]] = {
    "AnnotateConfig": {
        "pipeline": ("spacy:", "x"),
        "max_characters": (999, (1 << 30) + 1),
        "unit_bytes": (1023, "3 M", "2GiB"),
    },
    "ArmConfig": {},
    "BoundariesConfig": dict.fromkeys(
        ("spans", "classes", "batch_size", "epochs", "patience", "bins", "threads"), (0, -1)
    )
    | dict.fromkeys(("selection", "measured", "lr"), (0, 1, float("nan")))
    | {"mask_epoch": (-1, 1 << 32), "decay": ([-1], [101], []), "seeds": ("", "1,1", "x")},
    "ClassifyConfig": dict.fromkeys(("text_field", "second_field", "label_field"), ("", " "))
    | {"max_tokens": (4, (1 << 14) + 1), "examples": (1, 0)},
    "Capacities": dict.fromkeys(("tokens", "sequences"), (0, -1)),
    "CorefConfig": dict.fromkeys(("max_segments", "ffnn"), (-1, 1 << 15))
    | {"segment": (2, 1 << 15), "max_span": (0, 1001), "top_spans": (0, 11), "head_dropout": (1, -0.1)}
    | {"fold": ("0/2", "3/2", "x")},
    "CorpusConfig": {
        "text_field": ("",),
        "spans_field": ("",),
        "words_field": ("text",),
        "keep": (["labels"], ("text",)),
        "max_document_bytes": (0, -1, "3 M", (1 << 40) + 1),
    },
    "ExtendingConfig": {"add": (0, -1, (1 << 24) + 1), "min_frequency": (0,)},
    "FinetuneConfig": dict.fromkeys(("epochs", "evals_per_epoch", "log_every", "bins", "threads"), (0, -1))
    | dict.fromkeys(("beta1", "beta2", "weight_decay", "dropout"), (1, -0.5))
    | dict.fromkeys(("epsilon", "selection"), (0, 1, float("nan")))
    | dict.fromkeys(("clip", "save_minutes"), (-1, float("inf")))
    | {
        "lr": ([0], [1], [], [0.5, 0.5]),
        "head_lr": ([0], [1], [0.5, 0.5]),
        "batch_size": ([0], [], [8, 8]),
        "seeds": ("", "0", "1,1", "-1", "x"),
    }
    | {"warmup": (-0.1, 1.5), "save_every": (-1,)},
    "GridConfig": {
        "tokens": (0, -1),
        "budget": (0, float("nan")),
        "seeds": ("", "1,1", "x"),
        "primary": ([],),
        "paper": ("x",),
    },
    "GlueConfig": {"max_tokens": (4, (1 << 14) + 1), "examples": (1, 0)},
    "LoadConfig": dict.fromkeys(("batch_size", "window", "width", "shuffle_blocks", "max_span_offset"), (0, -1))
    | {"seed": (), "weights": (), "mask_epoch": (-1, 1 << 16)},
    "MaskingConfig": {
        "seed": (-1, 2**64),
        "mask_ratio": (0, 1, 0.1234567891, float("nan")),
        "geometric_p": (0.0, 1.0, float("inf")),
        "max_words": (0, 1001),
        "mask_epoch": (-1, 1 << 16),
    },
    "NerConfig": {"window": (0, 3, 1 << 15)},
    "OutputConfig": {"holdout": (-0.1, 1), "shard_bytes": (1023, "3 M", "2GiB", (1 << 30) + 1)},
    "OverlapConfig": {"n": (0, 1001), "least": (0,)},
    "QaConfig": dict.fromkeys(("stride", "max_question", "n_best", "max_answer"), (0, -1)) | {"window": (0, 67)},
    "RelationConfig": {"window": (9, (1 << 14) + 1)},
    "SboRule": {"max_span_offset": (0,)},
    "SentinelConfig": {"first_sentinel": (-1,)},
    "SequenceConfig": {"max_tokens": (2, 65_536), "min_tokens": (-1, 513)},
    "SpanBertConfig": dict.fromkeys(("hidden_dropout", "attention_dropout"), (1, -0.1, float("nan")))
    | dict.fromkeys(("layer_norm_eps", "initializer_range"), (0, 1.0))
    | dict.fromkeys(("vocab_size", "hidden", "layers", "heads", "intermediate", "max_positions", "type_vocab"), (0, -1))
    | dict.fromkeys(("max_span_offset", "span_offset_dim"), (0,)),
    "TrainConfig": dict.fromkeys(
        (
            "hidden",
            "layers",
            "heads",
            "intermediate",
            "max_positions",
            "max_span_offset",
            "steps",
            "batch_size",
            "accumulate",
        ),
        (0, -1),
    )
    | dict.fromkeys(("width", "window", "keep_last", "log_every", "threads"), (0,))
    | dict.fromkeys(("seed", "save_every", "keep_every", "eval_every", "eval_sequences"), (-1,))
    | dict.fromkeys(("hidden_dropout", "attention_dropout", "beta1", "beta2", "weight_decay"), (1, -0.5))
    | dict.fromkeys(("lr", "epsilon"), (0, 1, float("nan")))
    | dict.fromkeys(("clip", "sbo_weight", "save_minutes"), (-1, float("inf")))
    | {"mask_epoch": (-1, 1 << 16), "warmup": (-1, 2_400_001), "cooldown": (-1,), "weights": ([0], [1001], 3)},
    "TrainingConfig": {"size": (0, -1, (1 << 24) + 1), "min_frequency": (0,), "coverage": (0, 1.5, float("nan"))},
    "VocabularyConfig": {},
    "ExportConfig": {},
    "PreshardConfig": {},
}
#: Configurations that a command makes, with what stands on its command line besides.
COMMANDS: dict[type[Options], tuple[Any, list[str]]] = {
    PreshardConfig: (preshard.command, ["x"]),
    TrainConfig: (train.command, ["x", "--out", "y"]),
    ExportConfig: (export.command, ["x", "--out", "y"]),
    TrainingConfig: (vocab.command, ["x", "--out", "y"]),
    ExtendingConfig: (vocab.command, ["x", "--out", "y"]),
}
#: Options that ask for another one's value, or that a configuration has no use for.
OUT_OF_PLACE: dict[type[Options], set[str]] = {
    AnnotateConfig: {"spans_field", "words_field", "omit"},
    CorpusConfig: {"spans_field"},
    LoadConfig: {"mask_epoch"},
    PreshardConfig: {"spans_field"},
    TrainConfig: {"cooldown"},
    TrainingConfig: {"spans_field", "words_field", "keep", "exclude"},
    ExtendingConfig: {"spans_field", "words_field", "keep", "exclude"},
}
#: Values of options that a configuration cannot do without, and that are no number and no choice.
NEEDED: dict[str, Any] = {"pipeline": "spacy:something", "primary": ["something"]}


def _owned(config: type[Options]) -> dict[str, tuple[str | None, Kind]]:
    """Return the section and the kind of each flat option."""
    owned: dict[str, tuple[str | None, Kind]] = {}
    for name, kind in kinds(config).items():
        if is_section(kind):
            owned |= {inner: (name, below) for inner, below in kinds(kind.type).items()}
        else:
            owned[name] = (None, kind)
    return owned


def _needed(config: type[Options]) -> dict[str, Any]:
    """Return the flat options that a configuration cannot do without."""
    needed: dict[str, Any] = {}
    for field in fields(config):  # type: ignore[arg-type]
        kind = kinds(config)[field.name]
        if is_section(kind):
            needed |= _needed(kind.type)
        elif field.default is MISSING and field.default_factory is MISSING:
            needed[field.name] = NEEDED.get(field.name, str([*kind.type][-1]) if issubclass(kind.type, StrEnum) else 8)
    return needed


# --- The doors


def _constructor(config: type[Options], options: dict[str, Any], _folder: Path) -> Options:
    nested: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        nested.setdefault(_owned(config)[name][0] or "", {})[name] = value
    own = nested.pop("", {})
    return config(**own, **{name: kinds(config)[name].type(**values) for name, values in nested.items()})


def _of(config: type[Options], options: dict[str, Any], _folder: Path) -> Options:
    return config.of(**options)


def _json(config: type[Options], options: dict[str, Any], _folder: Path) -> Options:
    nested: dict[str, Any] = {name: {} for name, kind in kinds(config).items() if is_section(kind)}
    for name, value in options.items():
        section = _owned(config)[name][0]
        (nested if section is None else nested[section])[name] = value
    return config.from_json(json.loads(json.dumps(nested)))


def _toml(config: type[Options], options: dict[str, Any], folder: Path) -> Options:
    lines = [f"{name} = {_spelled(value)}\n" for name, value in options.items()]
    (folder / "c.toml").write_text("".join(lines))
    return config.of(**config.read_toml(folder / "c.toml"))


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_spelled(item)}' for key, item in value.items())} }}"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _command(config: type[Options], options: dict[str, Any], _folder: Path) -> Options:
    command, arguments = COMMANDS[config]
    flags = {parameter.name: parameter.opts[0] for parameter in command.params}
    words = list(arguments)
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            words += [flags[name]] if value is True else [flags[name], str(item)]
    read = command.make_context("spanmask", words).params
    return config.of(**given({name: read[name] for name in config.option_names() if name in read}))


DOORS = {
    "constructor": _constructor,
    "of": _of,
    "json": _json,
    "toml": _toml,
    "command": _command,
}
Outcome = tuple[str, Any]


def _through(door: str, config: type[Options], options: dict[str, Any], folder: Path) -> Outcome:
    """Return the configuration that comes out, or the error."""
    try:
        return "made", DOORS[door](config, _needed(config) | options, folder)
    except ConfigError as error:
        return "refused", str(error)


def _outcome(config: type[Options], options: dict[str, Any], folder: Path) -> Outcome:
    """Return what comes out of all doors that a value can go through, which is one."""
    spelled = all(_has_flag(_owned(config)[name][1], value) for name, value in options.items())
    offered = {parameter.name for parameter in COMMANDS[config][0].params} if config in COMMANDS else set()
    doors = {name for name in DOORS if name != "command" or (offered and spelled and options.keys() <= offered)}
    if "null" in json.dumps(options):
        doors -= {"toml"}
    outcomes = {door: _through(door, config, options, folder) for door in doors}
    first = outcomes["constructor"]
    assert all(repr(outcome) == repr(first) for outcome in outcomes.values()), outcomes
    assert first[0] == "refused" or all(outcome == first for outcome in outcomes.values())
    return first


def _has_flag(kind: Kind, value: Any) -> bool:
    """Return whether a command line can say a value such that it is no other's text."""
    if kind.many:
        return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    if kind.type is bool:
        return value is True
    return isinstance(value, str) or (type(value) in (int, float) and kind.type in (int, float))


def _wrong(kind: Kind) -> list[Any]:
    """Return values of other types than an option's."""
    if kind.many:
        return [
            "x",
            3,
            [3] if kind.type is str else ["x"],
            [None],
            {"a": 1},
            [True],
            *([] if kind.optional else [None]),
        ]
    wrong: list[Any] = [[], {"a": 1}] if not issubclass(kind.type, Options) else [[], "x", 3, {"nonsense": 1}]
    if not issubclass(kind.type, Options):
        wrong += {bool: ["x", 1, 0.0], int: ["x", 1.5, True], float: ["x", True]}.get(kind.type, [3, True])
    if issubclass(kind.type, StrEnum):
        wrong += ["nonsense", ""]
    return wrong if kind.optional else [*wrong, None]


each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda kind: kind.__name__)


def test_every_configuration_is_known_with_what_is_out_of_its_range() -> None:
    assert {kind.__name__ for kind in CONFIGS} == BEYOND.keys()
    for config in CONFIGS:
        own = {name: kind for name, kind in kinds(config).items() if not issubclass(kind.type, Options)}
        numbers = {name for name, kind in own.items() if kind.type in (int, float)}
        assert numbers <= BEYOND[config.__name__].keys() <= own.keys(), config


@each_config
def test_a_value_of_another_type_is_refused_alike_at_every_door(config: type[Options], tmp_path: Path) -> None:
    for name, (_, kind) in _owned(config).items():
        for value in _wrong(kind):
            made, told = _outcome(config, {name: value}, tmp_path)
            assert made == "refused", (name, value)
            assert "unknown option 'nonsense'" in told or told == f"{name} is {value!r}: give {kind.form.wanted}"


@each_config
def test_a_choice_by_its_text_is_the_choice_at_every_door(config: type[Options], tmp_path: Path) -> None:
    for name, (_, kind) in _owned(config).items():
        for choice in kind.type if issubclass(kind.type, StrEnum) else ():
            outcome = _outcome(config, {name: str(choice)}, tmp_path)
            assert outcome == _through("constructor", config, {name: choice}, tmp_path)
            if outcome[0] == "made":
                flat = [outcome[1], *(getattr(outcome[1], section) for section in kinds(config))]
                assert any(getattr(part, name, None) is choice for part in flat)


@each_config
def test_a_value_out_of_range_is_refused_alike_at_every_door(config: type[Options], tmp_path: Path) -> None:
    for name, (section, _) in _owned(config).items():
        owner = kinds(config)[section].type if section else config
        for value in BEYOND[owner.__name__].get(name, ()):
            made, told = _outcome(config, {name: value}, tmp_path)
            assert made == "refused", (name, value)
            assert "give " in told or "rename it" in told or "must differ" in told


@each_config
def test_defaults_and_ordinary_values_are_taken_alike_at_every_door(config: type[Options], tmp_path: Path) -> None:
    ordinary: dict[Any, Any] = {int: 8, float: 0.125, bool: True, str: "something"}
    ordinary |= {
        "hidden": 24,
        "heads": 6,
        "window": 512,
        "seeds": "1,2,5",
        "fold": "2/5",
        "shard_bytes": "4KiB",
        "exclude": "id=ids.txt",
        "encoding": "latin-1",
        "pipeline": "spacy:something",
        "max_characters": 8000,
        "unit_bytes": "8KiB",
        "paper": "masking",
    }
    made, plain = _outcome(config, {}, tmp_path)
    assert made == "made"
    assert config.from_json(json.loads(json.dumps(plain.to_json()))) == plain
    for name, (_, kind) in _owned(config).items():
        if kind.type in ordinary and name not in OUT_OF_PLACE.get(config, ()):
            value = ordinary.get(name, ordinary[kind.type])
            value = [value] if kind.many else value
            made, other = _outcome(config, {name: value}, tmp_path)
            assert made == "made", other


@each_config
def test_every_option_is_described_in_its_configurations_docstring(config: type[Options]) -> None:
    names = [name for name, kind in kinds(config).items() if not is_section(kind)]

    def command() -> None:
        pass

    config_options(config)(command)
    told = {option.name: option.help for option in command.__click_params__}  # type: ignore[attr-defined]
    assert [name for name in names if not told[name]] == []


def test_a_configuration_has_slots_is_frozen_and_can_be_copied() -> None:
    for config in CONFIGS:
        made = config.of(**_needed(config))
        assert not hasattr(made, "__dict__")
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, next(iter(kinds(config))), None)
        assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == dataclasses.replace(made) == made.changed()
        assert hash(made) == hash(made.changed())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shorter(SequenceConfig):
    """A configuration on top of another; ``slots=True`` makes the class anew, which breaks a bare ``super()``."""

    longest: Annotated[int | None, Form("a length")] = None

    def _check(self) -> None:
        SequenceConfig._check(self)
        self._fill(longest=self.max_tokens)
        self._require(lambda value: value <= self.max_tokens, "at most max_tokens", "longest")


def test_a_configuration_on_top_of_another_is_held_to_both() -> None:
    assert Shorter(max_tokens=9).longest == 9
    assert Shorter.of(segmentation="sentence").segmentation == "sentence"
    for options, told in (
        ({"max_tokens": 2}, "max_tokens is 2: give 3"),
        ({"longest": 600}, "longest is 600: give at most max_tokens"),
        ({"longest": "x"}, "longest is 'x': give a length"),
    ):
        with pytest.raises(ConfigError, match=told):
            Shorter(**options)  # type: ignore[arg-type]


def test_numbers_of_any_library_become_plain_ones() -> None:
    config = MaskingConfig(
        seed=np.uint64(7), mask_ratio=np.float64(0.15), geometric_p=Fraction(1, 5), max_words=np.int8(9)
    )  # type: ignore[arg-type]
    assert config == MaskingConfig(seed=7, max_words=9)
    assert {type(value) for value in (config.seed, config.max_words)} == {int}
    assert {type(value) for value in (config.mask_ratio, config.geometric_p)} == {float}
    assert MaskingConfig(seed=1, scheme=np.str_("word")).scheme is Scheme.WORD  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"seed is .*True.*: give a whole number"):
        MaskingConfig(seed=np.True_)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mask_ratio is 1000.*: give a number"):
        MaskingConfig(seed=1, mask_ratio=10**400)


def test_changes_go_to_the_section_that_owns_them_and_what_was_filled_in_stays() -> None:
    config = PreshardConfig.of(seed=1, max_tokens=64)
    assert config.changed(min_tokens=9, on_error="skip") == PreshardConfig.of(
        seed=1, max_tokens=64, min_tokens=9, on_error="skip"
    )
    with pytest.raises(ConfigError, match="sampler paper goes with scheme span only"):
        config.changed(scheme="token")
    free = dict.fromkeys(("sampler", "replacement_unit", "random_ids"))
    assert config.changed(scheme="token", **free) == PreshardConfig.of(seed=1, max_tokens=64, scheme="token")
    with pytest.raises(ConfigError, match="unknown option 'max_token'; did you mean 'max_tokens'"):
        config.changed(max_token=3)


def test_a_section_may_be_given_by_its_options() -> None:
    assert PreshardConfig(masking={"seed": 3}) == PreshardConfig.of(seed=3)  # type: ignore[arg-type]
    given = {"batch_size": 4, "layout": "packed", "capacities": _needed(kinds(LoadConfig)["capacities"].type)}
    assert LoadConfig.of(**given).capacities.tokens == 8  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="masking is missing: give a MaskingConfig, or its options by name"):
        PreshardConfig.from_json({})
    with pytest.raises(ConfigError, match="unknown option 'maskin'; did you mean 'masking'"):
        PreshardConfig.from_json({"maskin": {}})


# --- Seven mistakes that went through in silence


@pytest.fixture(scope="module")
def sequences() -> tuple[Any, Any]:
    """Twenty sequences of a hundred tokens."""
    tokens = np.random.default_rng(0).integers(1000, 28_000, 2000).astype(np.uint16)
    return tokens, np.arange(0, 2001, 100)


@pytest.mark.parametrize("scheme", ["span", "token", "word"])
def test_a_scheme_by_its_text_masks_as_the_scheme(scheme: str, sequences: tuple[Any, Any]) -> None:
    named, meant = (
        spanmask.mask(*sequences, MaskingConfig(seed=7, scheme=one))  # type: ignore[arg-type]
        for one in (scheme, Scheme(scheme))
    )
    assert pickle.dumps(named) == pickle.dumps(meant)


def test_a_dataset_of_a_scheme_by_its_text_is_what_its_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cat sat on the mat, and nobody told it that there was another one.\n\n" * 40)
    config = PreshardConfig(masking=MaskingConfig(seed=7, scheme="span"))  # type: ignore[arg-type]
    manifest = spanmask.preshard(tmp_path / "a.txt", tmp_path / "out", config, jobs=1)
    assert manifest.content["config"]["masking"]["scheme"] == "span"
    assert spanmask.audit(tmp_path / "out").to_json()["differing_rows"] == 0


def test_bad_text_ends_a_run_that_is_told_so_by_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some words before a broken one \xff and more of them\n")
    config = PreshardConfig(masking=MaskingConfig(seed=7), corpus=CorpusConfig(on_error="fail"))  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="0xff is not valid UTF-8"):
        spanmask.preshard(tmp_path / "a.txt", tmp_path / "out", config, jobs=1)


def test_decay_by_its_text_puts_every_parameter_into_a_group() -> None:
    from torch import nn

    from spanmask.train.optimizer import make_optimizer

    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    groups = make_optimizer(model, TrainConfig(decay="matrices")).param_groups  # type: ignore[arg-type]
    held = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [held[id(parameter)] for parameter in model.parameters()] == [0.1, 0.0, 0.0, 0.0]
    assert TrainConfig(decay="matrices").decay is Decay.MATRICES  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LoadConfig(batch_size=4, seed="x"), "seed is 'x': give a whole number"),  # type: ignore[arg-type]
        (lambda: LoadConfig(batch_size=4, width="512"), "width is '512': give a whole number"),  # type: ignore[arg-type]
        (lambda: LoadConfig(batch_size=True), "batch_size is True: give a whole number"),
        (lambda: MaskingConfig(seed="x"), "seed is 'x': give a whole number"),  # type: ignore[arg-type]
        (lambda: VocabularyConfig(vocab=3), "vocab is 3: give cased, uncased or a path"),  # type: ignore[arg-type]
    ],
)
def test_values_of_another_type_end_in_an_error_that_says_so(make: Callable[[], Options], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("worker", ["order", "workers", "world"], "workers"),
        ("mask", ["tasks", "masks", "marks"], "masks"),
        ("batch", ["patch", "batch_size"], "batch_size"),
        ("tokens_max", ["max_tokens", "tokens"], "tokens"),
        ("lay_out", ["layout", "last"], "layout"),
    ],
)
def test_the_name_that_is_meant_is_the_one_that_is_begun(name: str, known: list[str], meant: str) -> None:
    assert hint_for(name, known) == f"did you mean {meant!r}?"


def test_a_word_that_is_an_option_too_is_one_where_it_stands_first() -> None:
    words = ["x", "--train", "t", "--eval", "e", "--out", "y", "--seeds", "1,1"]
    told = "--seeds is '1,1': give how many seeds, or which ones, each once, as in 1,2,5"
    assert str(CliRunner().invoke(probe_qa.command, words).exception) == told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("a/on_error/b: gone; leave out on_error", "a/on_error/b: gone; leave out --on-error"),
        ("on_error/b.tsv: gone", "on_error/b.tsv: gone"),
        ("b/on_error.tsv: on_error-2 is gone", "b/on_error.tsv: on_error-2 is gone"),
        ("a (on_error). on_error, on_error: a", "a (--on-error). --on-error, --on-error: a"),
        ("folds/fold: fold is 3: in fold 3", "folds/fold: --fold is 3: in fold 3"),
    ],
)
def test_folders_and_files_that_are_called_as_an_option_keep_their_names(message: str, told: str) -> None:
    @click.command(cls=GroupedCommand)
    @click.option("--on-error")
    @click.option("--fold")
    def command(**_options: Any) -> None:
        raise ConfigError(message, options=("fold",))

    assert str(CliRunner().invoke(command, []).exception) == told


@pytest.mark.parametrize("value", ['["paper"]', "3", "true", "{ paper = 1 }", '"papers"'])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (train.command, ["x", "--out", "y"]),
        (probe_qa.command, ["x", "--train", "t", "--eval", "e", "--out", "y"]),
    ],
)
def test_a_preset_in_a_file_that_is_none_is_refused(command: Any, words: list[str], value: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"preset = {value}\n")
    found = CliRunner().invoke(command, [*words, "--config", str(tmp_path / "c.toml")])
    assert isinstance(found.exception, ConfigError)
    assert re.match("unknown preset .*: give one of .*paper", str(found.exception))
