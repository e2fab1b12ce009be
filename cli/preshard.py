"""`spanmask preshard`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from spanmask.config import PreshardConfig
from spanmask.errors import IncompleteShards

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .stopping import stoppable_display
from .summary import dataset_summary, library_warning, print_json, told_inputs, unknown_rate, unknown_warning

if TYPE_CHECKING:
    from spanmask.corpus.inputs import Inputs
    from spanmask.presharding.progress import Progress


def build_config(config_file: str | None, options: dict[str, Any]) -> PreshardConfig:
    """Return the configuration of a TOML file with flags on top."""
    return PreshardConfig.of(**((PreshardConfig.read_toml(config_file) if config_file else {}) | given(options)))


@click.command(
    name="preshard",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask preshard corpus/*.jsonl.zst --out shards --seed 7 --max-tokens 128",
        "spanmask preshard book.txt --seed 7 --scheme word --dry-run 3",
    ),
)
@click.argument("inputs", nargs=-1, metavar="INPUT…")
@click.option("--out", type=click.Path(), help="Folder to write, or URL of a prefix (s3://BUCKET/PREFIX).")
@click.option(
    "--config",
    "config_file",
    type=click.Path(),
    metavar="FILE.toml",
    help="Options by name (max_tokens = 128); flags override them.",
)
@config_options(PreshardConfig, cased="--cased/--uncased")
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes. [one a processor]")
@click.option(
    "--engine",
    type=click.Choice(["local", "array", "dask"]),
    default="local",
    help="Who runs the work: processes of this machine, the array tasks of a scheduler, of which this is one, or workers of a Dask "
    "cluster (the extra dask). [local]",
)
@click.option(
    "--task",
    metavar="i/n",
    help="Of --engine array, which tasks of the plan this array task runs: the i-th share of n, from 0 on; env where Slurm, "
    "Kubernetes or AWS Batch say i and n, env/n where they say i alone; or tasks by number, as 3,7-9. Without it the work is planned "
    "and no more.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Of --engine dask: tcp://HOST:PORT, tls://HOST:PORT or the file that it wrote. [a cluster of --jobs processes]",
)
@click.option("--overwrite", is_flag=True, help="Replace another dataset in --out, once the new one is complete.")
@click.option(
    "--rehash",
    is_flag=True,
    help="Read the inputs of a finished dataset again, rather than trust their size and time, which are known where SPANMASK_CACHE_DIR is "
    "that of the run that finished it; elsewhere all are read in any case.",
)
@click.option(
    "--dry-run", type=click.IntRange(min=1), metavar="N", help="Show the first N sequences and write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    inputs: tuple[str, ...],
    out: str | None,
    config_file: str | None,
    jobs: int | None,
    engine: str,
    task: str | None,
    scheduler: str | None,
    overwrite: bool,
    rehash: bool,
    dry_run: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn text into masked shards.

    INPUT is a file, folder, glob or URL (s3://BUCKET/PREFIX) of .txt, .jsonl, .json, .csv, .tsv, .parquet or .arrow, but for the last two
    also as .gz, .zst, .bz2 or .xz; - is standard input.
    The same inputs and options give the same bytes, whatever the number of jobs and whoever runs them; a killed run goes on when called
    again. --engine array plans what INPUT and options ask for, unless that is planned; --task without them goes by the plan that is there,
    which suffices. When all tasks have ended, spanmask finalize makes the dataset of what they did.
    """
    for flag, value, whose in (("--task", task, "array"), ("--scheduler", scheduler, "dask")):
        if value is not None and engine != whose:
            raise click.UsageError(f"{flag} is {value}: it goes with --engine {whose}")
    planned = engine == "array" and not (inputs or config_file or given(options) or dry_run)
    if not inputs and not planned:
        raise click.UsageError("INPUT… is missing: give one at least")
    config = None if planned else build_config(config_file, options)
    if dry_run is not None and config is not None:
        if as_json:
            raise click.UsageError("--json does not go with --dry-run")
        _show_first(inputs, config, dry_run)
        return
    if out is None:
        raise click.UsageError("--out is missing: give the folder to write")
    if engine == "array":
        from .array_task import run_task

        run_task(inputs, out, config, task, as_json=as_json, jobs=jobs, overwrite=overwrite, rehash=rehash)
    elif config is not None:
        run = {"jobs": jobs, "engine": engine, "scheduler": scheduler, "overwrite": overwrite, "rehash": rehash}
        _write(inputs, out, config, as_json=as_json, **run)


def _write(inputs: tuple[str, ...], out: str, config: PreshardConfig, *, as_json: bool, **run: Any) -> None:
    """Write the dataset and tell what it is. run: of `spanmask.preshard`, as its command line has them."""
    from spanmask.presharding.destinations import mark_of
    from spanmask.presharding.run import preshard

    before = mark_of(out)
    found: list[Inputs] = []
    reasons: list[str | None] = [None]
    with stoppable_display(sys.stderr) as (show, request):

        def on_progress(progress: Progress) -> bool:
            reasons[0] = progress.through_library
            return show(progress)

        try:
            manifest = preshard(inputs, out, config, on_progress=on_progress, on_inputs=found.append, **run)
        except IncompleteShards as error:
            if request.code is not None:
                request.unwind()
            say(f"spanmask: {error}", err=True)
            sys.exit(3)
    written = before is None or before != mark_of(out)
    summary = dataset_summary(out, manifest, found[-1], written=written, through_library=reasons[0])
    if as_json:
        print_json(summary)
    else:
        say(summary["text"])


def _show_first(inputs: tuple[str, ...], config: PreshardConfig, count: int) -> None:
    from spanmask.presharding.run import preview
    from spanmask.presharding.space import estimated_bytes, told_bytes
    from spanmask.shard.input_list import InputRecord, input_names
    from spanmask.tokenization import Tokenizer

    from .rows import print_rows

    rows, vocabulary, found = preview(inputs, config, count)
    records = [InputRecord(index=file.index, name=file.name, size=file.size, sha256="") for file in found.files]
    print_rows(rows, vocabulary, input_names(records))
    say(told_inputs(len(found.files), found.passed_over, found.kinds))
    say(f"shards: about {told_bytes(estimated_bytes(config, vocabulary, found.files))}")
    rate = unknown_rate([row for _, row in rows], vocabulary)
    reason = Tokenizer(vocabulary).through_library
    for line in (*unknown_warning(rate, cased=vocabulary.cased), *library_warning(reason)):
        say(line, err=True)
