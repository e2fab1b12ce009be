"""The model that trainings begin with, each anew, and what names it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spanmask.errors import MismatchError
from spanmask.escaping import short_digest
from spanmask.model.encoders import LoadedEncoder
from spanmask.model.finetuning import FineTuned
from spanmask.probes.results import Named
from spanmask.probes.sources import load_encoder
from spanmask.probes.tasks import Rows, Task
from spanmask.vocab import Vocabulary


class Source:
    """A model by its folder: a run of ``spanmask train``, an export, or a BERT that transformers saved.

    Parameters
    ----------
    path
        The folder.
    dropout
        Share of values set to 0, in attention too.
    step
        Of a run, which checkpoint; by default its latest.
    vocabulary
        The model's own, where no tokenizer lies beside it.
    frozen
        Whether the encoder stays as it is.

    Attributes
    ----------
    frozen
        Whether the encoder stays as it is.
    named
        The folder's name, and a digest of the weights that were in it; once begun.
    vocabulary
        What ids mean; once begun.
    positions
        The longest sequence it takes; once begun.
    initialised
        What is drawn anew: heads, and what the model lacks; once a model was made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dropout: float = 0.1,
        step: int | None = None,
        vocabulary: Vocabulary | None = None,
        frozen: bool = False,
    ) -> None:
        self._path, self.frozen = Path(path), frozen
        dropouts = {"hidden_dropout": dropout, "attention_dropout": dropout}
        self._options: dict[str, Any] = {"step": step, "vocabulary": vocabulary, **dropouts}
        self.named: Named
        self.vocabulary: Vocabulary
        self.positions = 0
        self.initialised: tuple[str, ...] = ()

    def begin(self) -> LoadedEncoder:
        """Look at the model: what its vocabulary and its name are. Raises as `load_encoder` does."""
        loaded = self._load(pooler=False)
        self.named = Named(name=self._path.resolve().name or "model", sha256=_digest(loaded))
        self.vocabulary = self._options["vocabulary"] = loaded.vocabulary
        self.positions = loaded.encoder.config.max_positions
        return loaded

    def _load(self, *, pooler: bool) -> LoadedEncoder:
        return load_encoder(self._path, pooler=pooler, **self._options)

    def model(self, task: Task, *, seed: int) -> FineTuned:
        """Return the model with the task's head, on the host; what is new of it a function of the seed.

        Raises
        ------
        MismatchError
            The folder has other weights by now.
        """
        torch.manual_seed(seed)
        loaded = self._load(pooler=task.rows is Rows.EXAMPLE)
        found = _digest(loaded)
        if found != self.named.sha256:
            raise MismatchError(
                f"{self._path}: its weights hash to {short_digest(found)}, and to {short_digest(self.named.sha256)} when the run began: "
                "give a folder that nobody writes, or --step of a run that still trains"
            )
        model = FineTuned(loaded.encoder, task.head(loaded.encoder.config), loaded.pooler, frozen=self.frozen)
        heads = tuple(f"head.{name}" for name, _ in model.head.named_parameters())
        self.initialised = (*loaded.initialised, *heads)
        return model


def _digest(loaded: LoadedEncoder) -> str:
    """Return the SHA-256 of an encoder's weights, without those that were drawn anew."""
    hashed = hashlib.sha256()
    body = nn.ModuleDict({"encoder": loaded.encoder})
    for name, tensor in sorted(body.state_dict().items()):
        if name not in loaded.initialised:
            hashed.update(f"{name} {tuple(tensor.shape)}\n".encode())
            hashed.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return hashed.hexdigest()
