"""The small vocabulary of `strategies` as ours, and the oracle's configurations as ours."""

from __future__ import annotations

import oracle
import strategies as shapes

from spanmask.config import MaskingConfig, RandomIds, ReplacementUnit, Sampler, Scheme
from spanmask.vocab import Vocabulary


def _vocabulary() -> Vocabulary:
    entries = [f"[unused{i}]" for i in range(11)]
    entries += [f"w{i}" for i in shapes.WORD_IDS] + [f"##p{i}" for i in shapes.PIECE_IDS]
    for role, place in (("PAD", 0), ("UNK", 5), ("CLS", 6), ("SEP", 7), ("MASK", 8)):
        entries[place] = f"[{role}]"
    return Vocabulary(name="small", entries=tuple(entries), cased=True)


#: V = 80.
VOCABULARY = _vocabulary()


def config_of(masking: oracle.Masking) -> MaskingConfig:
    return MaskingConfig(
        seed=masking.seed,
        scheme=Scheme(masking.scheme),
        sampler=masking.sampler and Sampler(masking.sampler),
        mask_ratio=float(masking.ratio),
        geometric_p=float(masking.p),
        max_words=masking.max_words,
        replacement_unit=ReplacementUnit(masking.replacement_unit),
        random_ids=RandomIds(masking.random_ids),
        mask_epoch=masking.mask_epoch,
    )
