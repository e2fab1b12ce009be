"""How fast windows are cut: the peer held against ours, and the table."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probes.test_qa_windows import questions_on, texts, tokenizer_of
from spanmask_bench import protocol, windows
from spanmask_bench.baselines.hugging_face_windows import FastWindows

from spanmask.errors import ConfigError
from spanmask.probes.qa import QaConfig, cut_windows


@pytest.mark.slow
def test_a_peer_with_other_windows_is_not_measured_beside() -> None:
    tokenizer = tokenizer_of("uncased")
    passages = [*texts(6, 4), "Ödön said: the red house stood. " * 6]
    questions = replace(questions_on(passages, random.Random(2), 1), spans=np.full((len(passages), 2), -1))
    questions.spans[-1] = 30, 34
    cut = cut_windows(questions, tokenizer, QaConfig(window=32, stride=8, stride_is="overlap", max_question=12))
    vocabulary = dict(tokenizer.vocabulary.ids)
    peer = FastWindows(vocabulary, cased=False, window=32, overlap=8).cut(windows._asked(questions))
    windows.require_same(questions, cut, cut.byte_ranges(), peer)
    assert any(label != (0, 0) for batch in peer for label in batch.labels)
    ranges = cut.byte_ranges()
    ranges[int(cut.examples.second_starts[0])] += 1
    moved = FastWindows(vocabulary, cased=False, window=32, overlap=9).cut(windows._asked(questions))
    labels = [replace(peer[0], labels=[(1, 1), *peer[0].labels[1:]])]
    for others in ((ranges, peer), (cut.byte_ranges(), moved), (cut.byte_ranges(), labels), (cut.byte_ranges(), [])):
        with pytest.raises(ConfigError, match="cannot be measured beside"):
            windows.require_same(questions, cut, *others)


@pytest.mark.slow
def test_windows_are_measured_and_the_table_has_them(tmp_path: Path) -> None:
    context = "Ödön said: the red house stood on a hill. " * 20
    asked: list[dict[str, Any]] = [
        {"id": str(place), "question": "what is red?", "answers": [{"text": "house", "answer_start": 19 + 42 * place}]}
        for place in range(20)
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}), "utf-8")
    result = windows.measure(path=str(path), vocabularies=["cased"], rounds=2)
    assert set(result["goals"]) == {"cased: spanmask / transformers"}
    assert result["cases"]["cased"]["questions"] == 20
    lines = windows.table(json.loads(protocol.as_json(result))).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:5]] == ["spanmask", "spanmask, seen before", "transformers"]
    assert "20 questions on 1 passages" in "\n".join(lines)
