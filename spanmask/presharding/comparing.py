"""Compare a dataset with its inputs: read and tokenize them again, and hold the result against the rows with their labels put back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from spanmask.blocks import pair_columns, restore
from spanmask.engines.local import Outcome, run_local
from spanmask.presharding.planning import jobs_of
from spanmask.presharding.replanning import changed_inputs, inputs_of, other_inputs, plan_again
from spanmask.presharding.units import Pipeline, PipelineWork, Report, Unit, all_units, useful_jobs
from spanmask.records import MaskedBlock, Pairs, Ragged, SequenceBlock, TokenIds
from spanmask.shard.manifest import MANIFEST, Manifest, read_manifest, require_current
from spanmask.shard.reader import OnRows, ShardSet, advancing
from spanmask.shard.root import Root, root_of
from spanmask.shard.verify import Finding
from spanmask.tokenization.tokenizer import tokenized_by
from spanmask.vocab import Vocabulary


def verify_source(
    folder: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]] = (),
    *,
    jobs: int | None = None,
    on_progress: OnRows | None = None,
    on_hashed: OnRows | None = None,
) -> list[Finding]:
    """Return where a dataset differs from its inputs.

    Parameters
    ----------
    folder
        A finished dataset, already verified.
    inputs
        Its inputs in order; by default those that this user made it from.
    jobs
        Processes; by default one for every processor.
    on_progress
        Called with the rows compared, and all rows, as the work goes on.
    on_hashed
        Called before that with the bytes of the inputs whose digest is known, and all of them.

    Raises
    ------
    ConfigError
        The inputs are not known here, or are missing; or fewer than one job is asked for.
    MismatchError
        The dataset is of an earlier format, or another version of the masking rules wrote it.
    CorpusError
        An input cannot be read.
    """
    jobs, root = jobs_of(jobs), root_of(folder)
    manifest = read_manifest(root)
    require_current(manifest, folder, "comparing it with its inputs")
    # Names, sizes and digests come first: a changed input would otherwise be told as thousands of rows that differ.
    files = inputs_of(manifest, inputs, "--source")
    hashed = advancing(on_hashed, sum(file.size for file in files))
    changed = other_inputs(manifest, files) or changed_inputs(manifest, files, files, hashed)
    if changed:
        return changed
    plan = plan_again(manifest, files)
    advance = advancing(on_progress, sum(split.rows for split in manifest.splits.values()))
    work = PipelineWork(plan=plan, root=os.fspath(folder), run=partial(_compare_unit, root, manifest))
    outcomes = run_local(work, all_units(plan), useful_jobs(plan.tasks, jobs), lambda rows, *_: advance(rows))
    findings = [finding for outcome in outcomes for finding in _findings(outcome)]
    wrote, here = (
        f"{one['library']} {one['version']}" for one in (manifest.tokenized_by, tokenized_by(manifest.vocabulary))
    )
    if findings and wrote != here:
        findings.append(Finding(path=MANIFEST, message=f"its ids are those of {wrote}, compared with those of {here}"))
    return findings


def _findings(outcome: Outcome) -> list[Finding]:
    if outcome.result is None:
        return [Finding(path=outcome.unit.name, message="its worker died on three tries; give fewer --jobs")]
    return list(outcome.result)


def _compare_unit(root: Root, manifest: Manifest, pipeline: Pipeline, unit: Unit, report: Report) -> list[Finding]:
    """Return the first difference between a unit of the inputs and its rows, or else what the rows have left over."""
    readers = {name: _UnitRows(root, manifest, name, unit) for name in manifest.splits}
    for documents in pipeline.documents(unit):
        segments, _, _ = pipeline.sequences(documents)
        for name, part in pipeline.by_split(documents, segments):
            if name not in readers:
                return [Finding(path=name, message="the split is missing, and the inputs hold rows for it")]
            problem = readers[name].compare(part)
            if problem is not None:
                return [problem]
            report(len(part), 0, 0)
    # Only now: as long as the unit goes on, more rows may belong to it.
    over = [reader.path for reader in readers.values() if reader.left()]
    return [Finding(path=path, message="rows that the inputs do not hold") for path in over]


class _UnitRows:
    """The rows of one unit in one split, taken in order."""

    def __init__(self, root: Root, manifest: Manifest, split: str, unit: Unit) -> None:
        shards = ShardSet(root, manifest, manifest.splits[split], mapped=False)
        # A streamed task has a unit for each block, any other is one unit of several shards.
        chosen = shards.split.shards.of_unit(unit.task, None if unit.raw is None else unit.block)
        self.path = f"{split}/shard-{unit.name}.arrow"
        self._rows = (row for block in _blocks(shards, chosen) for row in _originals(block, manifest.vocabulary))

    def compare(self, segments: SequenceBlock) -> Finding | None:
        """Hold the next rows against segments; return the first difference."""
        for i in range(len(segments)):
            wanted = segments.token_ids[segments.starts[i] : segments.ends[i]]
            identity = (int(segments.document_ids[i]), int(segments.segments[i]))
            found = next(self._rows, None)
            if found is None:
                return Finding(path=self.path, message=f"row {identity} of the inputs is missing")
            if found[0] != identity:
                return Finding(path=self.path, message=f"row {found[0]} stands where the inputs have {identity}")
            if not np.array_equal(found[1], wanted):
                return Finding(path=self.path, message=f"row {identity} put back is not what the inputs hold")
            if found[2] != _pair_of(segments.pairs, i):
                return Finding(path=self.path, message=f"row {identity} is another pair than the inputs make")
        return None

    def left(self) -> bool:
        """Return whether rows remain."""
        return next(self._rows, None) is not None


def _blocks(shards: ShardSet, chosen: Sequence[int]) -> Iterator[MaskedBlock]:
    """Yield the record batches of some shards, of which one at a time is open."""
    for number in chosen:
        yield from (shards.blocks[k] for k in range(*shards.block_offsets[number : number + 2]))
        shards.close(number)


def _originals(
    block: MaskedBlock, vocabulary: Vocabulary
) -> Iterator[tuple[tuple[int, int], TokenIds, tuple[int, ...]]]:
    """Yield each row's identity, its tokens as they were before masking, without the special ones at its ends, and what pair it is."""
    originals = Ragged(values=restore(block, vocabulary)[0], offsets=block.input_ids.offsets)
    for number, identity in enumerate(zip(block.document_ids.tolist(), block.segments.tolist(), strict=True)):
        yield identity, originals[number][1:-1], _pair_of(block.pairs, number)


def _pair_of(pairs: Pairs | None, number: int) -> tuple[int, ...]:
    return () if pairs is None else tuple(int(column[number]) for column in pair_columns(pairs).values())
