"""Raw text in, verified span-masked shards out (SpanBERT's masking, Joshi et al. 2020).

::

    text ─read▶ DocumentBlock ─tokenize▶ TokenizedBlock ─sequence▶ SequenceBlock ─mask▶ MaskedBlock ─write▶ shards + manifest
                                                                                                            │ (the border)
                                                                       rows ◀─────────── ShardSet ◀open─────┘

Names are imported when first used: ``import spanmask`` loads neither numba nor pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.auditing import audit
    from spanmask.config import MaskingConfig, PreshardConfig
    from spanmask.errors import (
        ConfigError,
        CorpusError,
        IncompleteShards,
        MismatchError,
        ShardError,
        SpanmaskError,
        StorageError,
    )
    from spanmask.masking import mask
    from spanmask.presharding.finishing import finalize
    from spanmask.presharding.run import preshard
    from spanmask.presharding.tasks import plan, read_plan, run_unit
    from spanmask.records import MaskedBlock, Row, TokenizedBlock
    from spanmask.shard.manifest import Manifest
    from spanmask.shard.reader import ShardSet
    from spanmask.shard.reader import open_shards as open
    from spanmask.shard.verify import verify
    from spanmask.tokenization import Tokenizer
    from spanmask.vocab import Vocabulary, load_vocabulary

__all__ = [
    "ConfigError",
    "CorpusError",
    "IncompleteShards",
    "Manifest",
    "MaskedBlock",
    "MaskingConfig",
    "MismatchError",
    "PreshardConfig",
    "Row",
    "ShardError",
    "ShardSet",
    "SpanmaskError",
    "StorageError",
    "TokenizedBlock",
    "Tokenizer",
    "Vocabulary",
    "audit",
    "finalize",
    "load_vocabulary",
    "mask",
    "open",
    "plan",
    "preshard",
    "read_plan",
    "run_unit",
    "verify",
]

_HOMES = {
    "ConfigError": "errors",
    "CorpusError": "errors",
    "IncompleteShards": "errors",
    "Manifest": "shard.manifest",
    "MaskedBlock": "records",
    "MaskingConfig": "config",
    "MismatchError": "errors",
    "PreshardConfig": "config",
    "Row": "records",
    "ShardError": "errors",
    "ShardSet": "shard.reader",
    "SpanmaskError": "errors",
    "StorageError": "errors",
    "TokenizedBlock": "records",
    "Tokenizer": "tokenization",
    "Vocabulary": "vocab",
    "audit": "auditing",
    "finalize": "presharding.finishing",
    "load_vocabulary": "vocab",
    "mask": "masking",
    "open": "shard.reader:open_shards",
    "plan": "presharding.tasks",
    "preshard": "presharding.run",
    "read_plan": "presharding.tasks",
    "run_unit": "presharding.tasks",
    "verify": "shard.verify",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
