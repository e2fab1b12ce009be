"""The question: how much memory of a GPU does a training step need, estimated without one.

The step's forward pass is run on torch's meta device, which computes shapes alone, with attention for sequences of unequal length and in
bfloat16, and what autograd keeps for the backward pass is counted. Compiled steps keep less: what the compiler fuses is computed again.

    python -m spanmask_bench.training_memory --gpu-gigabytes 141
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from spanmask.model.config import PRESETS, Objective, SpanBertConfig
from spanmask.model.inputs import PackedTensors, SboTensors
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.train.optimizer import MOMENTS

from . import markdown
from .training import PLANS

#: Entries of BERT's cased vocabulary; slots that are masked, at most, and those of them that have boundaries.
ENTRIES, TARGETS = 28_996, 0.16
_META, _DTYPE = torch.device("meta"), torch.bfloat16
_GB = 10**9
#: Whose targets are a whole number.
_BINS = 25


def step_bytes(model: str, objective: str, *, bins: int, slots: int = 512) -> dict[str, int]:
    """Return the bytes that a step needs, by what for.

    Parameters
    ----------
    model, objective
        As `spanmask.model.SpanBertConfig` has them.
    bins, slots
        Of a micro-batch.

    Returns
    -------
    dict
        ``parameters``, ``gradients`` and ``moments`` in float32; ``cast``: the parameters in bfloat16; ``kept``: what the backward pass
        needs of the forward pass; ``scores``: gradients of the scores, the largest tensors that come and go; ``all`` of them together.
    """
    config = SpanBertConfig.preset(
        model,
        vocab_size=ENTRIES,
        objective=objective,
        attention="varlen",
        max_positions=max(slots, 512),
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    with _META:
        made = SpanBertForPreTraining(config)
    targets = int(TARGETS * bins * slots)
    kept = kept_bytes(made, empty_batch(bins, slots, targets))
    parameters = sum(parameter.nbytes for parameter in made.parameters())
    heads = 1 + config.objective.sbo
    found = {
        "parameters": parameters,
        "gradients": parameters,
        "moments": len(MOMENTS) * parameters,
        "cast": parameters * _DTYPE.itemsize // torch.float32.itemsize,
        "kept": kept,
        "scores": heads * targets * config.padded_vocab * (torch.float32.itemsize + _DTYPE.itemsize),
    }
    return found | {"all": sum(found.values())}


def empty_batch(bins: int, slots: int, targets: int) -> PackedTensors:
    """Return a batch of shapes alone, on the meta device; targets: slots of each head."""

    def some(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.int32, device=_META)

    sbo = SboTensors(*(some(targets) for _ in SboTensors._fields))
    return PackedTensors(
        input_ids=some(bins, slots),
        sequence_index=some(bins, slots),
        positions=some(bins, slots),
        cu_seqlens=some(bins * slots // 4 + 1),
        mlm_positions=some(targets),
        mlm_labels=some(targets),
        sbo=sbo,
    )


def kept_bytes(model: SpanBertForPreTraining, batch: PackedTensors) -> int:
    """Return the bytes that autograd keeps of a forward pass in bfloat16, parameters and their casts left out."""
    parameters = dict(model.named_parameters())
    cast = {name: parameter.to(_DTYPE) for name, parameter in parameters.items()}
    own = {tensor.untyped_storage()._cdata for tensor in (*parameters.values(), *cast.values())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Held, so that no other storage comes to lie in its place.
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        functional_call(model, cast, (batch, torch.empty(3, device=_META)))
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def bins_that_fit(gigabytes: float, model: str, objective: str, slots: int = 512) -> int:
    """Return how many bins a micro-batch may have on a GPU of so much memory; 0 where the model alone has no room."""
    one, two = (step_bytes(model, objective, bins=bins, slots=slots)["all"] for bins in (_BINS, 2 * _BINS))
    return max(int((gigabytes * _GB - (2 * one - two)) * _BINS // (two - one)), 0)


def table(models: Sequence[str], gigabytes: float, slots: int) -> str:
    """Return the estimates as Markdown: of the steps that `training` measures on a GPU, or one bin, and what fits."""
    measured = {size.model: size.bins for size in PLANS["cuda"].sizes}
    parts = ("parameters", "gradients", "moments", "cast", "kept", "scores", "all")
    head = ["model", "objective", "bins", *(f"{part}, GB" for part in parts), f"bins in {gigabytes:g} GB"]
    return markdown.table(head, _rows(models, measured, parts, gigabytes, slots), texts=2)


def _rows(
    models: Sequence[str], bins: Mapping[str, int], parts: Sequence[str], gigabytes: float, slots: int
) -> Iterator[list[str]]:
    for model in models:
        for objective in (Objective.MLM, Objective.MLM_SBO):
            size = bins.get(model, 1)
            found = step_bytes(model, objective, bins=size, slots=slots)
            fitting = bins_that_fit(gigabytes, model, objective, slots)
            yield [model, objective, f"{size}", *(f"{found[part] / _GB:.2f}" for part in parts), f"{fitting:,}"]


def main() -> None:
    """Print the table of the models that the command line names."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.training_memory", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(PRESETS), default=["base", "large"], help="[base large]")
    parser.add_argument("--gpu-gigabytes", type=float, default=141.0, help="of the GPU (default: 141, an H200's)")
    parser.add_argument("--slots", type=int, default=512, help="of a bin (default: 512)")
    asked = parser.parse_args()
    sys.stdout.write(f"{table(asked.models, asked.gpu_gigabytes, asked.slots)}\n")


if __name__ == "__main__":
    main()
