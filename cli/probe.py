"""`spanmask probe`."""

from __future__ import annotations

import click

from .commands import LazyGroup, examples

_SECTIONS = {
    "Tasks": {
        "classify": "Labels, or numbers, of your own texts or pairs of texts: TSV and JSON lines.",
        "coref": "Coreference: CoNLL-2012 files, LitBank's and OntoGUM's among them.",
        "glue": "The nine tasks of GLUE, with the files that one submits.",
        "ner": "Names and other spans with a type: CoNLL columns.",
        "qa": "Extractive question answering: SQuAD 1.1, SQuAD 2.0 and MRQA files.",
        "relation": "Relations between two entities: TACRED, SemEval-2010 task 8 and OpenNRE files.",
    },
    "Without a task": {
        "boundaries": "How well the states at a span's boundaries tell what is in it; no labels.",
    },
    "Finished runs": {
        "compare": "Put runs side by side, paired by seed.",
    },
}
PROBES = {name: told for group in _SECTIONS.values() for name, told in group.items()}


@click.group(
    name="probe",
    cls=LazyGroup,
    sections=_SECTIONS,
    prefix="probe_",
    epilog=examples(
        "spanmask probe qa run --train train-v1.1.json --eval dev-v1.1.json --out qa",
        "spanmask probe qa run --train train-v1.1.json --eval dev-v1.1.json --out qa --resume",
    ),
)
def command() -> None:
    """Fine-tune a model on a task's training files, and score its predictions on files that it never saw; or look at its states."""
