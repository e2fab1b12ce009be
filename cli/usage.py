"""What click finds wrong with a command line, told in one line: what was found, what was expected, and where to read on."""

from __future__ import annotations

import io
import re

import click

from spanmask.options import hint_for

_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


def told(error: click.ClickException) -> str:
    """Return an error of the command line as a line; a command without arguments is no error, and tells its help."""
    if isinstance(error, _NO_ARGUMENTS):
        help_text = io.StringIO()
        error.show(help_text)
        return help_text.getvalue().removesuffix("\n")
    ctx: click.Context | None = getattr(error, "ctx", None)
    return f"spanmask: {_message(error, ctx)}" + (f"; {ctx.command_path} --help tells more" if ctx else "")


def _message(error: click.ClickException, ctx: click.Context | None) -> str:
    if isinstance(error, click.BadParameter) and error.param is not None:
        missing = isinstance(error, click.MissingParameter)
        return _missing(error.param) if missing else _unusable(error.param, error.message)
    if isinstance(error, click.NoSuchOption):
        known = [name for one in ctx.command.get_params(ctx) for name in one.opts] if ctx else []
        hint = hint_for(error.option_name, known)
        return f"no option {error.option_name}" + (f"; {hint}" if hint.startswith("did") else "")
    if isinstance(error, click.BadOptionUsage) and "requires" in error.message:
        return f"{error.option_name} has no value: give one after it"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message)
    return (
        f"{extra[1]}: more than the command takes; leave it out, or put quotes around spaces"
        if extra
        else error.message
    )


def _name(param: click.Parameter) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name


def _missing(param: click.Parameter) -> str:
    name = _name(param)
    if isinstance(param, click.Option):
        return f"{name} is missing: give {name} {param.metavar or param.type.name.upper()}"
    return f"{name} is missing: give one at least"


def _unusable(param: click.Parameter, message: str) -> str:
    """Return what is wrong with a value, which click's message names before its verb."""
    found = re.match(r"(?:\w+ )?('.*?'|\S+) (?:is|does) ", message)
    if not found:
        return f"{_name(param)}: {message}"
    if isinstance(param.type, click.Path):
        return f"{_name(param)} is {found[1]}: {'no such file' if 'exist' in message else 'a folder'}; give a file"
    return f"{_name(param)} is {found[1]}: give {_wanted(param.type)}"


def _wanted(kind: object) -> str:
    if isinstance(kind, click.Choice):
        return "|".join(map(str, kind.choices))
    number = "a number" if isinstance(kind, click.FloatRange) else "a whole number"
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        return f"{number} above {kind.min}" if kind.min_open else f"{number}, {kind.min} or more"
    return number
