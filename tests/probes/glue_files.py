"""GLUE's files made of a story's sentences: each task's columns as the official download has them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from probes.ordering import sentences

from spanmask.probes.scores.glue import TASKS

#: By task: the header of files with labels, of files without, and rows of both, of which {a} and {b} are texts.
LAYOUTS: dict[str, tuple[str, str, str, str]] = {
    "cola": ("", "index sentence", "gj04 {label} * {a}", "{n} {a}"),
    "sst2": ("sentence label", "index sentence", "{a} {label}", "{n} {a}"),
    "mrpc": (
        "\ufeffQuality|#1 ID|#2 ID|#1 String|#2 String",
        "\ufeffindex|#1 ID|#2 ID|#1 String|#2 String",
        "{label} 702876 702977 {a} {b}",
        "{n} 1089874 1089925 {a} {b}",
    ),
    "stsb": (
        "index genre filename year old_index source1 source2 sentence1 sentence2 score",
        "index genre filename year old_index source1 source2 sentence1 sentence2",
        "{n} main-captions MSRvid 2012test 0001 none none {a} {b} {label}",
        "{n} main-captions MSRvid 2012test 0024 none none {a} {b}",
    ),
    "qqp": (
        "id qid1 qid2 question1 question2 is_duplicate",
        "id question1 question2",
        "133273 213221 213222 {a} {b} {label}",
        "{n} {a} {b}",
    ),
    "mnli": (
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 sentence2 "
        "label1 gold_label",
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 sentence2",
        "{n} 31193 31193n government (a) (b) (ROOT) (ROOT) {a} {b} {label} {label}",
        "{n} 31493 31493 travel (a) (b) (ROOT) (ROOT) {a} {b}",
    ),
    "qnli": ("index question sentence label", "index question sentence", "{n} {a} {b} {label}", "{n} {a} {b}"),
    "rte": ("index sentence1 sentence2 label", "index sentence1 sentence2", "{n} {a} {b} {label}", "{n} {a} {b}"),
    "wnli": ("index sentence1 sentence2 label", "index sentence1 sentence2", "{n} {a} {b} {label}", "{n} {a} {b}"),
}


def tsv(text: str, **values: str) -> str:
    """Return a layout's line with tabs for its spaces, those of a text as they are; a header with a bar has its own."""
    gap = "|" if "|" in text else " "
    return "\t".join(cell.format(**values) for cell in text.split(gap))


def rows(task: str, texts: Sequence[tuple[str, str]], labels: Sequence[str] | None) -> str:
    """Return a file of a task. labels: None for one without."""
    header, bare, row, unlabelled = LAYOUTS[task]
    names = header if labels is not None else bare
    told = labels or [""] * len(texts)
    lines = [
        tsv(unlabelled if labels is None else row, n=str(number), a=a, b=b, label=label)
        for number, ((a, b), label) in enumerate(zip(texts, told, strict=True))
    ]
    return "".join(f"{line}\n" for line in ([tsv(names)] if names else []) + lines)


def some_texts(first: int, count: int) -> list[tuple[str, str]]:
    return list(pairwise(sentences()[first : first + count + 1]))


def some_labels(task: str, texts: Sequence[tuple[str, str]]) -> list[str]:
    """Return labels by a rule that a model can learn: how long a first text is."""
    labels = TASKS[task].labels
    sizes = [len(first.split()) for first, _ in texts]
    return [labels[size % len(labels)] if labels else f"{min(size / 3, 5):.3f}" for size in sizes]


def write_task(folder: Path, task: str, *, train: int = 40, dev: int = 12, test: int = 5) -> Path:
    """Write a task's files into a folder of GLUE; return the task's own."""
    told = TASKS[task]
    own = folder / told.folder
    own.mkdir(parents=True)
    sets = {"train": (0, train)} | {f"dev{part}": (100 + 20 * n, dev) for n, part in enumerate(told.parts)}
    for name, place in sets.items():
        texts = some_texts(*place)
        (own / f"{name}.tsv").write_text(rows(task, texts, some_labels(task, texts)), "utf-8", newline="\n")
    for number, part in enumerate(told.parts):
        texts = some_texts(200 + 20 * number, test)
        (own / f"test{part}.tsv").write_text(rows(task, texts, None), "utf-8", newline="\n")
    return own
