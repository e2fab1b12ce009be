"""What every configuration is made of: values are converted and checked when one is made, whoever makes it and however.

A configuration is a frozen dataclass of options. Annotations say what they take, and the docstring what they mean: under *Attributes*, or
under headings of its own that group them. A field whose type is another configuration is a section. Options are named flatly, in
`Options.of`, in a TOML file and on the command line alike; only JSON keeps them by section.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import StrEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from spanmask.errors import ConfigError

T = TypeVar("T")


class Form(NamedTuple):
    """How a value is written, as ``Annotated`` may say of an option.

    wanted: what an error says to give. metavar: what help writes for a value. missing: what an error says where the option is left out and
    has no default. parse: turns a text into a value, or raises ValueError; without it a text stays one.
    """

    wanted: str
    metavar: str | None = None
    missing: str | None = None
    parse: Callable[[str], Any] | None = None


class Kind(NamedTuple):
    """What an option takes: a value of a type, several of it where ``many``, and None where ``optional``."""

    type: type[Any]
    form: Form
    many: bool = False
    optional: bool = False


class Options:
    """The base of every configuration; see the module.

    Whole numbers of any library become int, and numbers float where one is asked for; a bool is no number. A choice may be given by its
    text, several values as a list, a section by a mapping of its options.

    Raises
    ------
    ConfigError
        A value is of another type, out of range, or contradicts another.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            object.__setattr__(self, name, _converted(name, kind, getattr(self, name)))
        self._check()

    def _check(self) -> None:
        """Fill in what follows from other values, and refuse what cannot be used; every value has its type by now."""

    def _fill(self, **values: Any) -> None:
        """Set the named options where they are None."""
        for name, value in values.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _require(self, holds: Callable[[Any], bool], wanted: str, *names: str) -> None:
        """Refuse a value of the named options that is not as wanted; None, where it is one, is."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ConfigError(f"{name} is {value!r}: give {wanted}", options=(name,))

    @classmethod
    def option_names(cls) -> list[str]:
        """Return the flat names of all options, those of sections included."""
        return list(_owners(cls))

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return the configuration of flat options, each of which goes to the section that owns it.

        Raises
        ------
        ConfigError
            A name is unknown (the nearest known one is told), an option that has no default is missing, or a value cannot be used.
        """
        owners = _owners(cls)
        require_known(options, owners)
        nested: dict[str, Any] = {owner: {} for owner in owners.values() if owner is not None}
        for name, value in options.items():
            owner = owners[name]
            (nested if owner is None else nested[owner])[name] = value
        return cls.from_json(nested)

    def changed(self, **changes: Any) -> Self:
        """Return the configuration with other values of some options, as `of` takes them; give None to have one filled in anew."""
        known = {
            name: getattr(self if owner is None else getattr(self, owner), name)
            for name, owner in _owners(type(self)).items()
        }
        return self.of(**(known | changes))

    def to_json(self) -> dict[str, Any]:
        """Return the resolved options as plain JSON values, those of a section together."""
        return {name: _plain(getattr(self, name)) for name in kinds(type(self))}

    def differing(self) -> dict[str, Any]:
        """Return what `to_json` does, without the options that have their defaults, and without sections that have no other."""
        known, told = kinds(type(self)), self.to_json()
        # Of a section, which has no default of its own, nothing is left where none of its options differs.
        defaults = {field.name: _plain(field.default) for field in fields(self)}  # type: ignore[arg-type] # as in `from_json`
        parts = {
            name: getattr(self, name).differing() if is_section(known[name]) else value for name, value in told.items()
        }
        return {
            name: part for name, part in parts.items() if part != ({} if is_section(known[name]) else defaults[name])
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that `to_json` wrote; options left out have their defaults. Errors are those of `of`."""
        known = kinds(cls)
        require_known(values, known)
        for field in fields(cls):  # type: ignore[arg-type] # every subclass is a dataclass
            if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
                form = known[field.name].form
                told = form.missing or f"give {form.wanted}"
                raise ConfigError(f"{field.name} is missing: {told}", options=(field.name,))
        return cls(**values)

    @classmethod
    def read_toml(cls, path: str | Path, *more: str) -> dict[str, Any]:
        """Return the flat options of a TOML file, for `of`. more: names that are known as well.

        Raises
        ------
        ConfigError
            The file is missing, is not TOML, or holds a name that no option has.
        """
        try:
            options = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such configuration file") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: not a readable TOML file ({error})") from None
        require_known(options, [*cls.option_names(), *more], f"{path}: ")
        return options


_KINDS: dict[type[Options], dict[str, Kind]] = {}


def kinds(config: type[Options]) -> dict[str, Kind]:
    """Return what each field of a configuration takes, sections included; annotations are read once."""
    if config not in _KINDS:
        hints = typing.get_type_hints(config, include_extras=True)
        _KINDS[config] = {name: _kind_of(hint) for name, hint in hints.items()}
    return _KINDS[config]


def is_section(kind: Kind) -> bool:
    """Return whether a field's options are its configuration's own; one that may be None is a value instead."""
    return issubclass(kind.type, Options) and not kind.optional


def _owners(config: type[Options]) -> dict[str, str | None]:
    """Return the section that owns each flat option; None: the configuration itself."""
    owners: dict[str, str | None] = {}
    for name, kind in kinds(config).items():
        owners |= dict.fromkeys(kinds(kind.type), name) if is_section(kind) else {name: None}
    return owners


def require_known(names: Collection[str], known: Collection[str], place: str = "") -> None:
    """Refuse a name that is none of the known ones, telling the nearest.

    Raises
    ------
    ConfigError
        One is.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"{place}unknown option {name!r}; {hint_for(name, known)}")


def look_up(table: Mapping[str, T], name: object, noun: str) -> T:
    """Return an entry of a table.

    Parameters
    ----------
    table
        Entries by name.
    name
        The one that is wanted: of any type, since a TOML file may give any.
    noun
        What they are.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"unknown {noun} {name!r}: give one of {', '.join(table)}")
    return table[name]


def differing(options: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield, by name, what is not alike in all of some options, with the value in each; None where one has none."""
    for name in sorted({name for known in options for name in known}):
        values = [known.get(name) for known in options]
        if any(value != values[0] for value in values):
            yield name, values


def hint_for(name: str, known: Collection[str]) -> str:
    """Return what may be meant by a name that is none of the known ones: the nearest of them, or all."""
    # What a name begins, or is begun by, is meant rather than what looks alike.
    begun = [other for other in known if name and (other.startswith(name) or name.startswith(other))]
    near = difflib.get_close_matches(name, begun, n=1, cutoff=0.3) or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"


_FORMS = {
    bool: Form("true or false"),
    int: Form("a whole number", "INTEGER"),
    float: Form("a number", "NUMBER"),
    str: Form("a text", "TEXT"),
}
#: What counts as a value of a plain type.
_ACCEPTED: dict[type[Any], type[Any]] = {bool: bool, int: Integral, float: Real, str: str}


def _kind_of(hint: Any) -> Kind:
    """Read an annotation from the inside out: a type, ``tuple[…, ...]``, ``… | None``, and ``Annotated[…, Form]`` around any of them."""
    inside = typing.get_args(hint)
    if not inside:
        return Kind(hint, _form_of(hint))
    kind = _kind_of(inside[0])
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return kind._replace(form=inside[1])
    if origin is tuple:
        return kind._replace(many=True, form=Form(f"a list, each {kind.form.wanted}", kind.form.metavar))
    return kind._replace(optional=True)


def _form_of(kind: type[Any]) -> Form:
    if issubclass(kind, StrEnum):
        return Form(f"one of {', '.join(kind)}")
    return _FORMS.get(kind) or Form(f"a {kind.__name__}, or its options by name")


def _converted(name: str, kind: Kind, value: Any) -> Any:
    if value is None and kind.optional:
        return None
    try:
        if kind.form.parse is not None and isinstance(value, str):
            value = kind.form.parse(value)
        if not kind.many:
            return _one(kind.type, value)
        if isinstance(value, (list, tuple)):
            return tuple(_one(kind.type, item) for item in value)
    except (TypeError, ValueError, OverflowError):
        pass
    told = list(value) if isinstance(value, tuple) else value
    raise ConfigError(f"{name} is {told!r}: give {kind.form.wanted}", options=(name,))


def _one(kind: type[Any], value: Any) -> Any:
    """Return a value as one of a type; TypeError or ValueError where it is none."""
    if issubclass(kind, StrEnum):
        return kind(value)
    if issubclass(kind, Options) and isinstance(value, Mapping):
        return kind.from_json(value)
    if not isinstance(value, _ACCEPTED.get(kind, kind)) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value if issubclass(kind, Options) else kind(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value
