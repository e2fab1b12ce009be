"""The options of ``spanmask probe``'s commands, as click has them."""

from __future__ import annotations

import click
from spanmask_cli.commands import LazyGroup, cli


def probe_options(name: str) -> list[click.Option]:
    """Return the options of a command of `spanmask probe`, in order."""
    group = cli.get_command(click.Context(cli), "probe")
    assert isinstance(group, LazyGroup)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return [option for option in command.params if isinstance(option, click.Option)]
