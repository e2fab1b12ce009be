"""The encoder, its heads and their losses, and the bridge to Hugging Face (Joshi et al. 2020, arXiv 1907.10529, §3).

::

    PackedTensors ─encode▶ hidden states (B·L, H) ─gather▶ MLM rows (P, H) ──────────┐
                                                 └─gather▶ SBO rows (Q, 2·H + 200) ──┴▶ one product with the embedding ▶ losses

Shapes, beside those of `spanmask.records`: B bins, L slots of a bin, P slots for MLM targets and Q for SBO targets of a batch, W the size V
of the vocabulary rounded up to a multiple of 128. Names are imported when first used: ``import spanmask.model`` loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.model.config import Attention, Objective, SpanBertConfig
    from spanmask.model.convert import Imported, export, import_model, load
    from spanmask.model.encoder import SpanBertEncoder
    from spanmask.model.encoders import LoadedEncoder, read_encoder
    from spanmask.model.finetuned_folder import export_finetuned, load_finetuned, read_recipe
    from spanmask.model.finetuning import ClassHead, FineTuned, Pooler, SpanHead, TokenClassHead, span_losses
    from spanmask.model.heads import BoundaryOutput, SpanBoundaryHead
    from spanmask.model.infilling import Infilled, infill
    from spanmask.model.inputs import PackedTensors, SboTensors, packed_tensors, padded_tensors
    from spanmask.model.loss import objective_scales
    from spanmask.model.pretraining import PretrainingOutput, SpanBertForPreTraining
    from spanmask.model.tokenizer_files import read_tokenizer, write_tokenizer

__all__ = [
    "Attention",
    "BoundaryOutput",
    "ClassHead",
    "FineTuned",
    "Imported",
    "Infilled",
    "LoadedEncoder",
    "Objective",
    "PackedTensors",
    "Pooler",
    "PretrainingOutput",
    "SboTensors",
    "SpanBertConfig",
    "SpanBertEncoder",
    "SpanBertForPreTraining",
    "SpanBoundaryHead",
    "SpanHead",
    "TokenClassHead",
    "export",
    "export_finetuned",
    "import_model",
    "infill",
    "load",
    "load_finetuned",
    "objective_scales",
    "packed_tensors",
    "padded_tensors",
    "read_encoder",
    "read_recipe",
    "read_tokenizer",
    "span_losses",
    "write_tokenizer",
]

_HOMES = {
    "Attention": "config",
    "BoundaryOutput": "heads",
    "ClassHead": "finetuning",
    "FineTuned": "finetuning",
    "Imported": "convert",
    "Infilled": "infilling",
    "LoadedEncoder": "encoders",
    "Objective": "config",
    "PackedTensors": "inputs",
    "Pooler": "finetuning",
    "PretrainingOutput": "pretraining",
    "SboTensors": "inputs",
    "SpanBertConfig": "config",
    "SpanBertEncoder": "encoder",
    "SpanBertForPreTraining": "pretraining",
    "SpanBoundaryHead": "heads",
    "SpanHead": "finetuning",
    "TokenClassHead": "finetuning",
    "export": "convert",
    "export_finetuned": "finetuned_folder",
    "import_model": "convert",
    "infill": "infilling",
    "load": "convert",
    "load_finetuned": "finetuned_folder",
    "objective_scales": "loss",
    "packed_tensors": "inputs",
    "padded_tensors": "inputs",
    "read_encoder": "encoders",
    "read_recipe": "finetuned_folder",
    "read_tokenizer": "tokenizer_files",
    "span_losses": "finetuning",
    "write_tokenizer": "tokenizer_files",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
