"""transformers' Trainer on questions as its own example trains: windows padded to the longest there may be, or grouped by length.

The Trainer is the real one: its sampler, loop, AdamW, clipping and schedule. Favourable to the peer: windows are cut and held as arrays, a
collator only copies and pads, and nothing is logged, evaluated or saved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from spanmask.probes.examples import Examples

from .. import peers


class Held(Dataset[dict[str, Any]]):
    """Windows as the peer's dataset has them."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        held = self._examples
        return {
            "input_ids": held.input_ids[index],
            "second": int(held.second_starts[index]),
            "start": int(held.targets["starts"][index]),
            "end": int(held.targets["ends"][index]),
        }


class Padding:
    """Collates windows, padded to a width, or to the longest of them; tokens: of each batch that was made, padding not counted."""

    def __init__(self, width: int | None) -> None:
        self._width = width
        self.tokens: list[int] = []

    def __call__(self, windows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of n windows: (n, L) each, and (n,) the answers' places."""
        lengths = [len(window["input_ids"]) for window in windows]
        shape = len(windows), self._width or max(lengths)
        batch = {
            name: torch.zeros(shape, dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, (window, size) in enumerate(zip(windows, lengths, strict=True)):
            batch["input_ids"][row, :size] = torch.from_numpy(window["input_ids"].astype("int64"))
            batch["attention_mask"][row, :size] = 1
            batch["token_type_ids"][row, window["second"] : size] = 1
        self.tokens.append(sum(lengths))
        places = {f"{name}_positions": torch.tensor([window[name] for window in windows]) for name in ("start", "end")}
        return batch | places


class TrainerOnQuestions:
    """The peer, some steps a turn.

    Parameters
    ----------
    folder
        The model to begin with, as `spanmask.model.export_finetuned` writes it.
    examples
        Windows.
    width
        What they are padded to; None: the longest of a batch, and batches grouped by length.
    batch_size
        Windows of a step.
    scratch
        A folder for what the Trainer may want to write.
    """

    def __init__(self, folder: Path, examples: Examples, *, width: int | None, batch_size: int, scratch: Path) -> None:
        self._library = peers.load("transformers")
        self._model = self._library.BertForQuestionAnswering.from_pretrained(folder)
        self._data, self._grouped, self._collate = Held(examples), width is None, Padding(width)
        self._batch_size, self._scratch, self._turns = batch_size, scratch, 0

    def scores(self, which: Sequence[int]) -> Tensor:
        """Return the scores of some windows at their tokens, (T, 2), without dropout."""
        batch = Padding(None)([self._data[number] for number in which])
        self._model.eval()
        with torch.no_grad():
            found = self._model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
        return torch.stack([found.start_logits, found.end_logits], dim=2)[batch["attention_mask"] > 0]

    def turn(self, steps: int) -> tuple[float, int]:
        """Take one step, and so many more; return the seconds and the tokens of these."""
        self._turns += 1
        self._collate.tokens.clear()
        options = self._library.TrainingArguments(
            output_dir=str(self._scratch),
            per_device_train_batch_size=self._batch_size,
            learning_rate=3e-5,
            max_steps=steps + 1,
            train_sampling_strategy="group_by_length" if self._grouped else "random",
            remove_unused_columns=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            seed=self._turns,
        )
        watch = _watch(self._library)
        self._library.Trainer(
            model=self._model,
            args=options,
            train_dataset=self._data,
            data_collator=self._collate,
            callbacks=[watch],
        ).train()
        return watch.times[-1] - watch.times[0], sum(self._collate.tokens[1 : steps + 1])


def _watch(library: Any) -> Any:
    """Return a callback that notes when each step ended."""

    class Watch(library.TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(time.perf_counter())

    return Watch()
