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
    from spanmask.model.backbone import BackboneForPreTraining
    from spanmask.model.backbone_folder import (
        BegunBackbone,
        backbone_shapes,
        begin_backbone,
        build_backbone,
        export_backbone,
        load_backbone,
    )
    from spanmask.model.config import Attention, Objective, SpanBertConfig
    from spanmask.model.convert import Imported, export, import_model, load, load_model
    from spanmask.model.encoder import SpanBertEncoder
    from spanmask.model.encoders import LoadedEncoder, read_encoder
    from spanmask.model.finetuned_folder import export_finetuned, load_finetuned, read_recipe
    from spanmask.model.finetuning import ClassHead, FineTuned, Pooler, SpanHead, TokenClassHead, span_losses
    from spanmask.model.heads import BoundaryOutput, SpanBoundaryHead
    from spanmask.model.infilling import Infilled, infill
    from spanmask.model.inputs import PackedTensors, SboTensors, packed_tensors, padded_tensors
    from spanmask.model.loss import objective_scales
    from spanmask.model.pretraining import PretrainingModel, PretrainingOutput, SpanBertForPreTraining
    from spanmask.model.tokenizer_files import read_tokenizer, write_tokenizer

__all__ = [
    "Attention",
    "BackboneForPreTraining",
    "BegunBackbone",
    "BoundaryOutput",
    "ClassHead",
    "FineTuned",
    "Imported",
    "Infilled",
    "LoadedEncoder",
    "Objective",
    "PackedTensors",
    "Pooler",
    "PretrainingModel",
    "PretrainingOutput",
    "SboTensors",
    "SpanBertConfig",
    "SpanBertEncoder",
    "SpanBertForPreTraining",
    "SpanBoundaryHead",
    "SpanHead",
    "TokenClassHead",
    "backbone_shapes",
    "begin_backbone",
    "build_backbone",
    "export",
    "export_backbone",
    "export_finetuned",
    "import_model",
    "infill",
    "load",
    "load_backbone",
    "load_finetuned",
    "load_model",
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
    "BackboneForPreTraining": "backbone",
    "BegunBackbone": "backbone_folder",
    "BoundaryOutput": "heads",
    "ClassHead": "finetuning",
    "FineTuned": "finetuning",
    "Imported": "convert",
    "Infilled": "infilling",
    "LoadedEncoder": "encoders",
    "Objective": "config",
    "PackedTensors": "inputs",
    "Pooler": "finetuning",
    "PretrainingModel": "pretraining",
    "PretrainingOutput": "pretraining",
    "SboTensors": "inputs",
    "SpanBertConfig": "config",
    "SpanBertEncoder": "encoder",
    "SpanBertForPreTraining": "pretraining",
    "SpanBoundaryHead": "heads",
    "SpanHead": "finetuning",
    "TokenClassHead": "finetuning",
    "backbone_shapes": "backbone_folder",
    "begin_backbone": "backbone_folder",
    "build_backbone": "backbone_folder",
    "export": "convert",
    "export_backbone": "backbone_folder",
    "export_finetuned": "finetuned_folder",
    "import_model": "convert",
    "infill": "infilling",
    "load": "convert",
    "load_backbone": "backbone_folder",
    "load_finetuned": "finetuned_folder",
    "load_model": "convert",
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
