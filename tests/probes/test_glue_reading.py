"""GLUE's official TSVs, each task's columns and what is wrong in them, and where its files lie."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from probes.conftest import GLUE, needs_glue
from probes.glue_files import rows, some_labels, some_texts, write_task

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.glue import find_files, read_glue
from spanmask.probes.glue.files import lacking_in
from spanmask.probes.labelled import LabelledTexts
from spanmask.probes.scores.glue import TASKS

#: Texts with what a reader of CSV would take for more than characters; U+0085 and U+2028 end lines elsewhere.
TRAPS = [('He said "no', 'so it "" was'), ("it's, well", '"'), ("a\u0085b\u2028c", " d "), ("", "empty first")]


def read(path: Path, text: str, task: str, **options: object) -> LabelledTexts:
    path.write_text(text, "utf-8", newline="\n")
    return read_glue(path, TASKS[task], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", list(TASKS))
def test_each_tasks_columns_are_read_with_quotes_as_characters(task: str, tmp_path: Path) -> None:
    labels = (TASKS[task].labels or ("0.000", "5.000", "3.800")) * 4
    told = read(tmp_path / "dev.tsv", rows(task, TRAPS, labels[:4]), task)
    texts = [pair[: len(TASKS[task].texts)] for pair in TRAPS]
    assert list(told.texts) == texts
    assert told.labels == labels[:4]
    assert told.names == ("0", "1", "2", "3")
    assert not told.left_out
    asked = read(tmp_path / "test.tsv", rows(task, TRAPS, None), task, labelled=False)
    assert (list(asked.texts), asked.labels, asked.names) == (texts, None, told.names)


def test_rows_are_named_by_their_index_and_ends_of_lines_may_be_of_windows(tmp_path: Path) -> None:
    text = rows("rte", some_texts(0, 3), ["entailment"] * 3).replace("\n1\t", "\n17\t").replace("\n", "\r\n")
    assert read(tmp_path / "a.tsv", text, "rte").names == ("0", "17", "2")
    packed = tmp_path / "packed.tsv"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_glue(packed, TASKS["rte"]).names == ("0", "17", "2")


@pytest.mark.parametrize(
    ("task", "row", "fault", "told"),
    [
        ("rte", "7\tone\ttwo", "columns", "3 columns, expected 4"),
        ("rte", "7\tone\ttwo\tentailment\t", "columns", "5 columns, expected 4"),
        ("rte", "", "columns", "1 columns, expected 4"),
        ("rte", "7\tone\ttwo\tneutral", "label", "'neutral', expected entailment or not_entailment"),
        ("rte", "7\tone\ttwo\t", "label", "''"),
        ("rte", "0\tone\ttwo\tentailment", "index_twice", "'0' stands twice"),
        ("stsb", "7\tg\tf\ty\to\ts\ts\ta\tb\tnan", "label", "'nan', expected a number"),
        ("mnli", "7" + "\tx" * 10 + "\t-", "label", "'-', expected contradiction or entailment or neutral"),
        ("qqp", "1\t2\t3\tonly one question", "columns", "4 columns, expected 6"),
        ("cola", "sentence", "columns", "1 columns, expected 4"),
    ],
)
def test_a_row_that_is_not_usable_is_told_with_its_line_or_counted(
    task: str, row: str, fault: str, told: str, tmp_path: Path
) -> None:
    texts = some_texts(0, 2)
    text = rows(task, texts, some_labels(task, texts)) + row + "\n"
    line = text.count("\n")
    with pytest.raises(CorpusError, match=f"{told}.*{fault}.*--on-error skip") as caught:
        read(tmp_path / "dev.tsv", text, task)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{tmp_path}/dev.tsv:{line}: ")
    kept = read(tmp_path / "dev.tsv", text, task, on_error=OnError.SKIP)
    assert (len(kept), {str(key): count for key, count in kept.left_out.items()}) == (2, {fault: 1})


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    texts = some_texts(0, 2)
    for text, task, told in (
        (rows("rte", texts, ["entailment"] * 2), "mnli", "expected tab-separated columns, .*'gold_label'"),
        (rows("rte", texts, None), "rte", "'sentence1', 'sentence2', 'label' among them"),
        ("", "rte", "the first line is"),
        (rows("rte", [], []), "rte", "no row is left of it .it has none"),
        ("", "cola", "no row is left of it"),
    ):
        with pytest.raises(ConfigError, match=told):
            read(tmp_path / "a.tsv", text, task)
    with pytest.raises(ConfigError, match=r"no row is left of it .label: 1"):
        read(tmp_path / "a.tsv", "gj04\t2\t\tNo.\n", "cola", on_error=OnError.SKIP)
    (tmp_path / "latin.tsv").write_bytes(b"gj04\t1\t\tfine\ngj04\t1\t\tcaf\xe9\n")
    with pytest.raises(CorpusError, match=r"latin\.tsv:2: no UTF-8"):
        read_glue(tmp_path / "latin.tsv", TASKS["cola"])
    with pytest.raises(ConfigError, match="nowhere"):
        read_glue(tmp_path / "nowhere.tsv", TASKS["cola"])


def test_files_are_found_in_a_folder_of_all_tasks_or_of_one(tmp_path: Path) -> None:
    own = write_task(tmp_path, "mnli")
    (tmp_path / "diagnostic").mkdir()
    (tmp_path / "diagnostic" / "diagnostic.tsv").write_text(rows("wnli", some_texts(0, 2), None))
    for data in (tmp_path, own):
        found = find_files(data, "mnli")
        assert found.train == own / "train.tsv"
        assert found.evaluations == {part: own / f"{part}.tsv" for part in ("dev_matched", "dev_mismatched")}
        assert found.submitted == {
            "test_matched": "MNLI-m.tsv",
            "test_mismatched": "MNLI-mm.tsv",
            "diagnostic": "AX.tsv",
        }
        assert found.tests["diagnostic"] == tmp_path / "diagnostic" / "diagnostic.tsv"
    assert lacking_in(tmp_path)["rte"] == "no RTE/train.tsv, RTE/dev.tsv"
    assert "mnli" not in lacking_in(tmp_path)
    with pytest.raises(ConfigError, match=r"none of CoLA/, SST-2/.* there"):
        lacking_in(own)
    with pytest.raises(ConfigError, match=r"no RTE/train\.tsv, RTE/dev\.tsv; give the folder that has RTE/"):
        find_files(tmp_path, "rte")
    with pytest.raises(ConfigError, match="no task 'ax' of GLUE, expected one of cola"):
        find_files(tmp_path, "ax")
    sst2 = write_task(tmp_path, "sst2")
    (sst2 / "test.tsv").unlink()
    assert find_files(tmp_path, "sst2").tests == {}
    (sst2 / "train.tsv").unlink()
    assert lacking_in(tmp_path)["sst2"] == "no SST-2/train.tsv"


@pytest.mark.data
@needs_glue
@pytest.mark.parametrize(
    ("task", "train", "dev", "test", "last"),
    [
        ("cola", 8551, 1043, 1063, ("What all did you get for Christmas?",)),
        ("mrpc", 3667, 408, 1725, None),
        ("rte", 2490, 277, 3000, None),
        ("stsb", 5749, 1500, 1379, None),
        ("wnli", 635, 71, 146, None),
        ("sst2", 67349, 872, 1821, None),
    ],
)
def test_official_files_are_read_whole(
    task: str, train: int, dev: int, test: int, last: tuple[str, ...] | None
) -> None:
    found = find_files(GLUE, task)
    sizes = [len(read_glue(path, TASKS[task])) for path in (found.train, found.evaluations["dev"])]
    asked = read_glue(found.tests["test"], TASKS[task], labelled=False)
    assert [*sizes, len(asked)] == [train, dev, test]
    assert asked.names == tuple(map(str, range(test)))
    assert found.submitted == {"test": f"{TASKS[task].folder}.tsv"}
    if last is not None:
        assert read_glue(found.train, TASKS[task]).texts[-1] == last
