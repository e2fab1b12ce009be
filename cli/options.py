"""Click options made from a configuration's fields: flags, choices, defaults and help come from its annotations and its docstring.

Values go on as they are read; the configuration converts and refuses them, as it does those of a file or a call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from typing import Any

import click

from spanmask.errors import ConfigError
from spanmask.options import Kind, Options, is_section, kinds

Function = Callable[..., Any]


def config_options(
    config: type[Options], without: Collection[str] = (), **flags: str
) -> Callable[[Function], Function]:
    """Add an option for each one of a configuration; none has a default, so that a file's values stand.

    without: names of options to leave out. flags: of those that have others than their names, such as ``evaluate="--eval/--no-eval"``.
    """

    def add(function: Function) -> Function:
        for option in reversed(list(_options(config, flags, without))):
            function = option(function)
        return function

    return add


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that stand on the command line."""
    return {name: value for name, value in options.items() if value is not None and value != ()}


class GroupedCommand(click.Command):
    """A command whose help lists the options of a configuration by section, after its own, and whose errors name them as they are typed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise ConfigError(self._as_typed(str(error), error.options, ctx)) from error

    def _as_typed(self, message: str, plain: Collection[str], ctx: click.Context) -> str:
        """Return a message with flags for options; those that a file gives keep their names, and so do folders and files of a path.

        plain: names of one word that are options where they stand first; of others the underscore says so, wherever they stand.
        """
        for option in self.params:
            name = option.name or ""
            from_file = ctx.params.get("config_file") and ctx.params.get(name) in (None, ())
            if isinstance(option, click.Option) and not from_file and (name in plain or "_" in name):
                alone = rf"(?<![-\w'./\\]){name}(?![-\w'/\\]|\.\w)"
                message = re.sub(alone, option.opts[0], message, count=0 if "_" in name else 1)
        return message

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, by section."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class _Option(click.Option):
    """An option of a configuration. section: the heading in help."""

    def __init__(self, *arguments: Any, section: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.section = section


class _Choice(click.Choice):  # type: ignore[type-arg] # generic from click 8.2 on
    """One of the members of an enum, by text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text, whatever it is."""
        return value


def _number(text: str) -> Any:
    """Return the whole number or the number that a text is, or else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _options(
    config: type[Options], flags: Mapping[str, str], without: Collection[str], section: str = "Options"
) -> Iterator[Any]:
    """Yield the options of a configuration and, under their names, of its sections."""
    told = _told(config)
    for field in fields(config):  # type: ignore[arg-type] # every configuration is a dataclass
        kind = kinds(config)[field.name]
        if is_section(kind):
            yield from _options(kind.type, flags, without, field.name.capitalize())
        if is_section(kind) or field.name in without:
            continue
        heading, text = told.get(field.name, ("Attributes", ""))
        yield click.option(
            flags.get(field.name, f"--{field.name.replace('_', '-')}"),
            field.name,
            cls=_Option,
            section=section if heading == "Attributes" else heading,
            help=_with_default(text, field),
            **_typed(kind),
        )


def _typed(kind: Kind) -> dict[str, Any]:
    if kind.type is bool:
        return {"is_flag": True, "default": None}
    if issubclass(kind.type, StrEnum):
        return {"type": _Choice([str(item) for item in kind.type])}
    return {"type": str if kind.type is str else _number, "metavar": kind.form.metavar, "multiple": kind.many}


def _with_default(text: str, field: Field[Any]) -> str:
    """Return a help text with the default in brackets, unless it ends with some of its own."""
    default = field.default
    if text.endswith("]") or default in (MISSING, None, ()) or default is False:
        return text
    return f"{text} [{default:g}]" if isinstance(default, float) else f"{text} [{default}]"


def _told(config: type[Options]) -> dict[str, tuple[str, str]]:
    """Return what a docstring says of each option: the heading under which it stands, and its text in one line."""
    told: dict[str, tuple[str, str]] = {}
    lines = (inspect.getdoc(config) or "").splitlines()
    heading, names = "", [""]
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below.startswith("---"):
            heading = line
        elif line.startswith("    "):
            told |= {name: (heading, f"{told.get(name, ('', ''))[1]} {line.strip()}".lstrip()) for name in names}
        elif heading:
            names = line.split(", ")
    return told
