"""Windows and logits in, answers out: as run_squad.py of the paper's released code decodes them, but that texts are cut from the passage.

Of each window the 20 highest starts and 20 highest ends are paired, wherever in the window they lie; a pair counts if its start has the
most context in this window, its end is not before its start and it has at most 30 tokens; pairs are sorted by the sum of their logits,
and each text counts once. The released code joins the pieces of a pair again and looks for the passage's spelling of them; here pieces
know which bytes of the passage they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask.blocks import read_only
from spanmask.corpus.strings import plain_bytes, plain_offsets
from spanmask.errors import ConfigError
from spanmask.kernels import decoding as kernels
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.qa.questions import Questions
from spanmask.probes.qa.windows import Windows
from spanmask.records import Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The best answers of Q questions, at most n each, the best first.

    counts: (Q,) how many there are. places: (Q, n, 2) int64, bytes [start, end) of the passage; beyond a question's count, nothing is
    meant. logits: (Q, n, 2) float32, of start and end. nulls: (Q, 2) float32, start and end logit of ``[CLS]``, of the window in which
    their sum is least.
    """

    counts: npt.NDArray[np.int64]
    places: Offsets
    logits: npt.NDArray[np.float32]
    nulls: npt.NDArray[np.float32]

    @property
    def null_odds(self) -> npt.NDArray[np.float64]:
        """(Q,) by how much the null answer scores higher than the best other one, which scores 0 where there is none."""
        best = self.logits[:, 0].astype(np.float64).sum(1) * (self.counts > 0)
        odds: npt.NDArray[np.float64] = self.nulls.astype(np.float64).sum(1) - best
        return odds


def decode(questions: Questions, windows: Windows, logits: npt.NDArray[np.float32], config: QaConfig) -> Decoded:
    """Find the best answers of questions.

    Parameters
    ----------
    questions
        Q questions.
    windows
        All windows of them.
    logits
        (T, 2) float32: of each token of the windows, how likely an answer starts and ends there.
    config
        How many answers of which lengths are kept.

    Raises
    ------
    ConfigError
        A logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise ConfigError("the model's logits are not all finite, so no answer can be told; fine-tune with a lower lr")
    count, most = len(questions), config.n_best
    out = kernels.Best(
        counts=np.zeros(count, np.int64),
        places=np.zeros((count, most, 2), np.int64),
        logits=np.zeros((count, most, 2), np.float32),
        scores=np.zeros((count, most), np.float64),
        nulls=np.zeros((count, 2), np.float32),
    )
    examples = windows.examples
    read = kernels.Read(
        offsets=examples.input_ids.offsets,
        questions=examples.groups,
        widest=windows.widest,
        places=windows.byte_ranges(),
        passages=windows.passages,
    )
    kernels.find_best(
        plain_bytes(questions.passages),
        read_only(plain_offsets(questions.passages)),
        read,
        logits,
        config.max_answer,
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        out,
    )
    return Decoded(counts=out.counts, places=out.places, logits=out.logits, nulls=out.nulls)
