"""The group of commands: finds its subcommands without importing them, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from spanmask._lazy import told_by_extra
from spanmask.errors import (
    ConfigError,
    CorpusError,
    IncompleteShards,
    MismatchError,
    ShardError,
    SpanmaskError,
    StorageError,
)
from spanmask.storage import reporting

from .ending import last_words, leave_with, working
from .streams import OUTPUT

#: Name and one-line help of every command, so that listing them imports none; the module is named alike, with _ for -, but for `_MODULES`.
_GROUPS = {
    "Make data": {
        "vocab": "Train a vocabulary on text, or add pieces of it to a model's.",
        "annotate": "Find named entities or noun phrases in text, to be masked.",
        "preshard": "Turn text into masked shards.",
        "finalize": "Make the dataset of what an array's tasks did.",
        "status": "Tell how far a dataset is, or what it is.",
        "repair": "Make damaged or missing shards again, byte for byte.",
        "gc": "Remove what killed processes left.",
        "export": "Write a dataset as Parquet, JSON lines, a Hugging Face folder, or T5's inputs and targets.",
    },
    "Look at data": {
        "demo": "Mask a short book that ships with the package, and look at it.",
        "show": "Show masked sequences beside their originals, of several datasets together.",
        "verify": "Prove that a dataset is what was written.",
        "overlap": "Find the documents that share text with evaluation files, as a list to leave out.",
        "audit": "Replay the masks of a dataset and hold them against their law; compare datasets.",
    },
    "Train": {
        "train": "Train a model on a dataset.",
        "curves": "Put the losses of training runs side by side.",
        "infill": "Tell what a model puts in place of the [MASK] tokens of a text.",
        "export-model": "Write the model of a training run as a folder that transformers loads.",
    },
    "Evaluate": {
        "probe": "Fine-tune a model on a task, and tell what it is worth.",
        "score": "Score predictions as a task's official program does.",
        "reproduce": "Train arms of a plan alike, and tell how they differ: the paper's comparisons.",
    },
    "Measure": {
        "bench": "Measure this machine.",
    },
}
#: Modules of commands whose names a module of Python's own has.
_MODULES = {"gc": "collect"}
COMMANDS = {name: told for group in _GROUPS.values() for name, told in group.items()}

EXIT_CODES: list[tuple[type[BaseException], int]] = [
    (IncompleteShards, 5),
    (ShardError, 5),
    (CorpusError, 5),
    (StorageError, 4),
    (ConfigError, 2),
    (MismatchError, 2),
    (SpanmaskError, 1),
    (KeyboardInterrupt, 130),
    (click.Abort, 130),
]


def examples(*lines: str) -> str:
    """Return the end of a help text: command lines as they are typed."""
    return "\n  ".join(["\b\nExamples:", *lines])


@contextmanager
def _ending_when_unread() -> Iterator[None]:
    """Exit with 141 when nobody reads standard output on; click and rich would exit with 1."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        sys.stdout = None
        raise click.exceptions.Exit(128 + signal.SIGPIPE) from None


#: How to go on with what an interrupt or SIGTERM stopped; other commands write nothing that would be lost.
_GO_ON = {
    "train": "no update was made; the same command begins anew",
    "preshard": "the same command goes on from here",
    "finalize": "the same command goes on from here",
    "repair": "shards made again stay; the same command goes on from here",
    "probe": "nothing was written; the same command begins anew",
    "reproduce": "cells that are done stay; the same command goes on from here",
    "vocab": "nothing was written; the same command begins anew",
    "overlap": "nothing was written; the same command begins anew",
    "annotate": "the same command with --resume goes on from here",
    "export": "nothing was written; the same command begins anew",
    "export-model": "nothing was written; the same command begins anew",
}


@contextmanager
def _telling_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        ours = isinstance(error, KeyboardInterrupt) or error.code == 128 + signal.SIGTERM
        told = last_words() if ours else ""
        if not told:
            raise
        if sys.stderr.isatty():
            say("", err=True)  # ^C stands in the line.
        say(f"spanmask: {told}", err=True)
        if isinstance(error, KeyboardInterrupt):
            raise click.Abort from error  # click would tell it by an empty line.
        raise


class Group(click.Group):
    """A group that names the nearest of its commands on a typo."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Resolve a command, or refuse what none is called."""
        name, known = args[0], self.list_commands(ctx)
        is_option = name.startswith("-") and name.strip("-")
        if name not in known and not is_option:
            from spanmask.options import hint_for

            raise click.UsageError(f"no command {name!r}; {hint_for(name, known)}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported when one is called.

    Parameters
    ----------
    sections
        Name and one-line help of every command, by heading.
    prefix
        What names of their modules begin with.
    """

    def __init__(self, *args: Any, sections: dict[str, dict[str, str]], prefix: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self._sections, self._prefix = sections, prefix
        self._names = [name for group in sections.values() for name in group]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._names:
            return None
        name = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        module = importlib.import_module(f".{self._prefix}{name}", __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


class _Main(LazyGroup):
    """The group of all commands."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the command line."""
        with _ending_when_unread():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _ending_when_unread(), _telling_how_to_go_on():
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Resolve a command, and know how to go on with it."""
        if args and args[0] in _GO_ON:
            # Before the command is imported, which for some takes seconds.
            leave_with(f"stopped; {_GO_ON[args[0]]}")
        return super().resolve_command(ctx, args)


_EXAMPLES = examples(
    "spanmask demo",
    "spanmask preshard corpus/*.jsonl.zst --out shards --seed 7",
    "spanmask verify shards --source",
    "spanmask audit shards --html audit.html",
)


@click.group(cls=_Main, sections=_GROUPS, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spanmask", message="%(prog)s %(version)s")
def cli() -> None:
    """Turn raw text into span-masked pre-training data (SpanBERT), exactly and fast."""


def main() -> int:
    """Run the command line; return its exit code."""
    try:
        with working(), warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment] # the place of a warning is nothing to people
            code = cli.main(prog_name="spanmask", standalone_mode=False)
    except click.ClickException as error:
        from .usage import told

        say(told(error), err=True)
        return error.exit_code
    except BaseException as error:
        return _fail(_told_by_storage(told_by_extra("this command", error)))
    return code if isinstance(code, int) else 0


def _warn(message: Warning | str, *_place: object) -> None:
    say(f"spanmask: warning: {message}", err=True)


def _told_by_storage(error: BaseException) -> BaseException:
    """Return what the system refused as an error of ours, wherever it was met; any other error as it is."""
    if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
        error = OSError(errno.EMFILE, os.strerror(errno.EMFILE), error.path)
    if not isinstance(error, OSError):
        return error
    if error.filename == OUTPUT:
        sys.stdout = None  # What is left in its buffer would be refused again when Python ends.
        return StorageError(f"{OUTPUT}: could not write ({error.strerror}); free some space, or send it elsewhere")
    try:
        with reporting(error.filename or "a file", "use"):
            raise error
    except SpanmaskError as told:
        return told


def _fail(error: BaseException) -> int:
    """Tell an error of ours in one line; return the exit code, or raise what was not foreseen."""
    code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)
    if code is None:
        raise error
    if isinstance(error, SpanmaskError):
        say(f"spanmask: {error}", err=True)
    return code


def say(text: str, *, err: bool = False) -> None:
    """Print lines for people, as `printable` has them; on a terminal those that are too long for it break between words."""
    text, stream = printable(text), sys.stderr if err else sys.stdout
    if stream is not None and stream.isatty():
        text = "\n".join(_broken(line, shutil.get_terminal_size().columns) for line in text.split("\n"))
    click.echo(text, err=err)


def _broken(line: str, width: int) -> str:
    return line if len(line) <= width else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that a file's name or content cannot drive the terminal."""
    return "".join(char if char.isprintable() or char in "\n " else repr(char)[1:-1] for char in text)
