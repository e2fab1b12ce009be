"""Question answering as a task of the engine: files of questions in, windows to train on and to be judged by out.

What chooses are the questions on a share of the training passages, by a hash of each. Of SQuAD 2.0 the threshold is chosen there too: the
null odds above which a question is said to have no answer. The best threshold on an evaluation file itself is an oracle's, and named so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from spanmask.config import OnError
from spanmask.model.config import SpanBertConfig
from spanmask.model.finetuning import SpanHead, span_losses
from spanmask.probes import results
from spanmask.probes.batching import Batch
from spanmask.probes.examples import Examples
from spanmask.probes.faults import by_file, by_name
from spanmask.probes.files import Paths, evaluation_files, training_files
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.qa.decoding import decode
from spanmask.probes.qa.predictions import (
    best_texts,
    best_threshold,
    null_odds_of,
    prediction_files,
    with_threshold,
)
from spanmask.probes.qa.questions import Layout, Questions, joined
from spanmask.probes.qa.reading import read_questions
from spanmask.probes.qa.windows import cut_windows
from spanmask.probes.scores import squad, squad2
from spanmask.probes.selection import parted, selected
from spanmask.probes.tasks import Judged, Outputs, Rows, Settings
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

THRESHOLD = "null_threshold"
#: Exact match and F1 by question.
_Pairs = Mapping[str, tuple[int, float]]


class AskedQuestions:
    """Questions that are answered and not trained on. name: what results call them."""

    def __init__(self, name: str, questions: Questions, tokenizer: Tokenizer, config: QaConfig) -> None:
        self.name, self._questions, self._config = name, questions, config
        self._windows = cut_windows(questions, tokenizer, config)

    @property
    def examples(self) -> Examples:
        """Their windows."""
        return self._windows.examples

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score the answers that logits, (T, 2), come to; see `spanmask.probes.tasks.HeldOut`."""
        questions = self._questions
        decoded = decode(questions, self._windows, outputs, self._config)
        texts, odds = best_texts(questions, decoded), null_odds_of(questions, decoded)
        raw = self._pairs(texts)
        chooses = settings is None
        if settings is None:
            settings = self._chosen(raw, odds)
        threshold = settings.get(THRESHOLD) if questions.layout is Layout.SQUAD2 else None
        pairs = raw if threshold is None else self._pairs(with_threshold(texts, odds, threshold))
        exact, f1 = (np.array(column, np.float64) for column in zip(*pairs.values(), strict=True))
        return Judged(
            figures=self._figures(pairs, raw, texts, odds),
            settings=settings,
            files={} if chooses else prediction_files(questions, decoded, threshold),
            questions=results.Questions(
                eval=[self.name] * len(questions),
                ids=questions.ids,
                paragraphs=questions.passage_of,
                exact=exact,
                f1=f1,
            ),
        )

    @cached_property
    def _answers(self) -> dict[str, tuple[str, ...]]:
        return dict(zip(self._questions.ids, self._questions.answers, strict=True))

    def _pairs(self, predicted: Mapping[str, str]) -> _Pairs:
        """Return exact match and F1 of each prediction, by the rules of the questions' layout."""
        if self._questions.layout is Layout.SQUAD2:
            return squad2.question_scores(self._answers, predicted)
        return squad.question_scores(self._answers, predicted)

    def _chosen(self, raw: _Pairs, odds: Mapping[str, float]) -> dict[str, float]:
        """Return the threshold with the best F1 on these questions; none where each has an answer. raw: of the best answers."""
        if self._questions.layout is not Layout.SQUAD2:
            return {}
        nothing = self._pairs(dict.fromkeys(raw, ""))
        answered, unanswered = (np.array([f1 for _, f1 in pairs.values()]) for pairs in (raw, nothing))
        return {THRESHOLD: best_threshold(np.array(list(odds.values())), answered, unanswered)}

    def _figures(
        self, pairs: _Pairs, raw: _Pairs, texts: Mapping[str, str], odds: Mapping[str, float]
    ) -> dict[str, float]:
        """Return the official figures; of SQuAD 2.0 also what the best threshold on these very questions would give to ``texts``."""
        if self._questions.layout is not Layout.SQUAD2:
            exact, f1 = (100.0 * sum(column) / len(pairs) for column in zip(*pairs.values(), strict=True))
            return {"exact_match": exact, "f1": f1}
        figures = squad2.mean_scores(self._answers, pairs)
        for column, name in enumerate(("exact", "f1")):
            scores = {question: pair[column] for question, pair in raw.items()}
            figures[f"oracle_best_{name}"], _ = squad2.best_threshold(scores, self._answers, texts, odds)
        return figures


class QuestionAnswering:
    """Extractive question answering with its files read and cut into windows; see `spanmask.probes.tasks.Task`.

    Parameters
    ----------
    vocabulary
        The model's.
    train, evaluate
        Files of SQuAD 1.1, SQuAD 2.0 or MRQA, in any mixture.
    config
        Windows and answers.
    selection
        Share of the training passages that chooses.
    on_error
        Whether a question that is not usable ends reading, or is left out and counted.

    Raises
    ------
    ConfigError
        A file is missing or has another layout, two evaluation files have one name, or no question is left to train on or to choose by.
    CorpusError
        Something in a file is not what it should be.
    StorageError
        A file cannot be read.
    """

    name, metric, rows = "qa", "f1", Rows.TOKEN

    def __init__(
        self,
        vocabulary: Vocabulary,
        train: Paths,
        evaluate: Paths,
        config: QaConfig,
        *,
        selection: float,
        on_error: OnError = OnError.FAIL,
    ) -> None:
        self._config, tokenizer = config, Tokenizer(vocabulary)
        self.eval_files, self.train_files = evaluation_files(evaluate), training_files(train)
        learnt, held = ([read_questions(path, on_error) for path in paths] for paths in (train, evaluate))
        #: What was left out, by file.
        self.left_out = by_file((*train, *evaluate), learnt + held)
        whole = joined(learnt)
        chosen = selected((text.encode() for text in whole.passages.to_pylist()), selection)[whole.passage_of]
        trained, choosing = parted(chosen, "questions", "passages")
        self.training = cut_windows(whole.take(trained), tokenizer, config).examples
        self.selection = AskedQuestions("selection", whole.take(choosing), tokenizer, config)
        self.evaluations = tuple(
            AskedQuestions(file.name, questions, tokenizer, config)
            for file, questions in zip(self.eval_files, held, strict=True)
        )

    @property
    def width(self) -> int:
        """Slots of a bin: a longest window's."""
        return self._config.window

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The options, and what was left out."""
        return {**self._config.to_json(), "left_out": by_name(self.left_out)}

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head: two scores a token."""
        return SpanHead(config)

    @staticmethod
    def loss(scores: Tensor, batch: Batch) -> Tensor:
        """Return the summed loss of n windows, each the mean of the cross entropies of its start and its end."""
        starts, ends = (batch.firsts + batch.targets[name] for name in ("starts", "ends"))
        return span_losses(scores, batch.owners, starts, ends).sum()
