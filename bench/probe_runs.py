"""Runs of ``spanmask probe``, as a user starts them: made, or gone on with where a killed one was, and what stands in them."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .command_runs import COMMAND

#: Of weights that are drawn here.
_SEED = 7


def run(*arguments: object) -> bytes:
    """Run spanmask, and return what it prints.

    Raises
    ------
    RuntimeError
        It failed.
    """
    done = subprocess.run([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(
            f"spanmask {arguments[0]} ended with {done.returncode}; see above, mend it and start this again"
        )
    return done.stdout


def probed(task: str, model: Path, out: Path, options: Sequence[object]) -> dict[str, Any]:
    """Return what a probe of a model found, but for the names of models, which are folders'; made, or gone on with.

    Raises
    ------
    RuntimeError
        It failed.
    """
    if not (out / "results.json").exists():
        resume = ["--resume"] if (out / "probe.json").exists() else []
        run("probe", task, model, "--out", out, *options, *resume)
    results = json.loads((out / "results.json").read_bytes())
    return {key: results[key] for key in ("train", "eval", "seeds", "mean", "deviation", "metric", "protocol")}


def random_twin(bert: Path, out: Path) -> Path:
    """Return a folder with a model of a BERT's shape and vocabulary, whose weights are drawn anew; written if it is not there.

    Raises
    ------
    ConfigError
        The BERT cannot be read.
    """
    import torch

    from spanmask.config import VocabularyConfig
    from spanmask.model import SpanBertForPreTraining
    from spanmask.model.bert_folder import read_bert
    from spanmask.model.convert import export
    from spanmask.vocab import load_vocabulary

    if not out.exists():
        torch.manual_seed(_SEED)
        model = SpanBertForPreTraining(read_bert(bert).config)
        export(model, out, load_vocabulary(VocabularyConfig(vocab=str(bert))))
    return out


def joined(file: str | None, key: str, found: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """Return records that were made now, over those that a result's file has under a key, in an order of their names."""
    before = json.loads(Path(file).read_bytes())[key] if file and Path(file).exists() else {}
    both = {**before, **found}
    return {name: both[name] for name in order if name in both}


def arguments(prog: str, told: str | None, holds: str) -> argparse.ArgumentParser:
    """Return a parser of what such benches take: DATA, which ``holds`` something, a BERT, a folder for everything, and a file."""
    parser = argparse.ArgumentParser(prog=f"spanmask_bench.{prog}", description=told)
    parser.add_argument("data", type=Path, metavar="DATA", help=f"with {holds}")
    parser.add_argument("--bert", type=Path, required=True, metavar="DIR", help="a BERT that transformers saved")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    return parser
