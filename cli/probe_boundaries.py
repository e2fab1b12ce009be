"""`spanmask probe boundaries`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from spanmask.errors import ConfigError
from spanmask.probes.boundaries.config import BoundariesConfig

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .probing import given_vocabulary
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.probes.boundaries.run import Findings


@click.command(
    name="boundaries",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask probe boundaries run shards",
        "spanmask probe boundaries mlm-1 mlm-2 mlm-3 shards --out mlm",
    ),
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path())
@click.argument("dataset", metavar="DATASET", type=click.Path())
@click.option("--out", type=click.Path(), metavar="RUN", help="Keep what is found in this folder.")
@click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go over them.")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN, with its options.")
@click.option("--step", type=click.IntRange(min=1), help="Of a run of spanmask train, which checkpoint. [the latest]")
@click.option("--vocab", metavar="cased|uncased|PATH", help="The models' vocabulary, where none lies beside them.")
@click.option("--cased/--uncased", default=None, help="Casing of a vocabulary given as a vocab.txt.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_options(BoundariesConfig)
def command(
    models: tuple[str, ...],
    dataset: str,
    out: str | None,
    config_file: str | None,
    resume: bool,
    step: int | None,
    vocab: str | None,
    cased: bool | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how well the states at a span's boundaries tell a linear reader what is in it, in bits a token.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved; several are trainings of one kind, a
    seed each. DATASET is text that no MODEL was trained on, presharded with its vocabulary: no labels are needed. Nothing of MODEL is
    trained. Beside it stand a reader without states (unigram), shuffled labels, MODEL's table of words (static), and the same shape with
    random weights.
    """
    config = _config(out, config_file, given(options), resume=resume)
    from .probe_boundaries_display import BoundariesDisplay
    from .train_display import screen

    with screen(sys.stderr) as shown:
        shown.show(["loading PyTorch"])
        from spanmask.probes.boundaries.run import probe
        from spanmask.probes.starting import Source

        vocabulary = given_vocabulary(vocab, cased)
        sources = [Source(model, step=step, vocabulary=vocabulary) for model in models]
        watch = BoundariesDisplay(shown, kept=out is not None)
        probed = probe(sources, dataset, config, out=out, resume=resume, watch=watch)
    _deliver(probed, out, as_json=as_json)


def _config(out: str | None, file: str | None, flags: dict[str, Any], *, resume: bool) -> BoundariesConfig:
    """Return flags over a file; of a run to be resumed, over what it was started with."""
    options = (BoundariesConfig.read_toml(file) if file else {}) | flags
    if not resume:
        return BoundariesConfig.of(**options)
    if out is None:
        raise ConfigError("resume: there is no run to go on with; give its folder (--out)", options=("resume",))
    from spanmask.probes.boundaries.record import begun_config

    return begun_config(out).changed(**options)


def _deliver(probed: Findings, out: str | None, *, as_json: bool) -> None:
    from spanmask.probes.boundaries.findings import complaints

    for seed, found in probed.found.items():
        for line in complaints(found):
            say(f"spanmask: warning: seed {seed}: {line}", err=True)
    if as_json:
        print_json({"out": out, **probed.results.to_json(), "found": probed.found})
        return
    from rich.console import Console

    from .probe_boundaries_display import tables

    Console().print(tables(probed.found))
    if out is not None:
        say(f"wrote {out}: results.json, and of each model every reader's figures")
