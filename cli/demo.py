"""`spanmask demo`."""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

import click

from spanmask.config import PreshardConfig

from .commands import examples, say
from .options import GroupedCommand
from .progress import progress_display, rows_display
from .rows import print_rows
from .summary import dataset_summary, verified_amount

_SEED = 7


@click.command(
    name="demo",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask demo",
        "spanmask demo --out demo",
    ),
)
@click.option("--out", type=click.Path(), metavar="DIR", help="Keep the dataset here. [a temporary folder]")
def command(out: str | None) -> None:
    """Mask stories by Edgar Allan Poe that ship with the package: preshard, verify, audit, and show one sequence."""
    if out is not None:
        _run(Path(out))
        return
    with tempfile.TemporaryDirectory(prefix="spanmask-demo-") as folder:
        _run(Path(folder) / "demo")


def _run(out: Path) -> None:
    """Preshard, verify, audit and show the built-in text, each under the command that does the same; exit 1 where a check fails."""
    from rich.console import Console

    from spanmask.auditing import audit
    from spanmask.kernels.cache import has_compiled_kernels
    from spanmask.presharding.run import preshard
    from spanmask.report.audit_table import render_audit
    from spanmask.shard.input_list import input_names
    from spanmask.shard.reader import open_shards
    from spanmask.shard.verify import verify

    console = Console()
    with resources.as_file(resources.files("spanmask.data").joinpath("poe.txt")) as text:
        say(f"$ spanmask preshard poe.txt --out {out} --seed {_SEED}")
        if not has_compiled_kernels():
            say("(compiling the kernels, once: about half a minute)", err=True)
        with progress_display(sys.stderr) as on_progress:
            manifest = preshard(text, out, PreshardConfig.of(seed=_SEED), jobs=1, on_progress=on_progress)
    say(dataset_summary(out, manifest)["text"])
    say(f"\n$ spanmask verify {out}")
    with rows_display(sys.stderr, "verifying") as on_rows:
        verdict = verify(out, on_progress=on_rows)
    for finding in verdict.findings:
        say(f"{finding.path}: {finding.message}")
    say(f"{'ok' if verdict.ok else 'not ok'}: {verified_amount(verdict)}")
    say(f"\n$ spanmask audit {out}")
    with rows_display(sys.stderr, "auditing") as on_rows:
        result = audit(out, on_progress=on_rows)
    console.print(render_audit(result.to_json(), console.width))
    say(f"\n$ spanmask show {out} --n 1")
    shards = open_shards(out)
    print_rows([(0, shards[0])], shards.manifest.vocabulary, input_names(shards.manifest.inputs))
    say("\nNext, on your own text: spanmask preshard YOUR.txt --out shards --seed 7")
    if not (verdict.ok and result.ok):
        sys.exit(1)
