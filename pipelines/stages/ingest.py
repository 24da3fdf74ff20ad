"""The seeds stage: input files become shards of seeds with ids, once; later stages never read the input again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pipelines.stages.sift import tallied
from pipelines.store.commit import Outcome, commit
from pipelines.store.dataset import Plan, committed, slice_parts
from pipelines.store.files import Folder, folder
from pipelines.store.ledger import read_entry
from pipelines.store.manifest import Manifest
from pipelines.store.seeds import seed_tables


def settle_seeds(target: Folder, rows: int, shard_rows: int) -> Plan:
    """The frozen shards of the seeds stage over ``rows`` input rows; written now if it has not started."""
    return Plan.load(target) or Plan.extend(target, target, slice_parts([(0, rows)], shard_rows, 0), [])


def ingest(plain: dict[str, Any], target_url: str, fingerprint: str, rows_per_shard: int) -> Iterator[str]:
    """Commit every seed shard of a manifest, in order; yields each shard's entry as JSON.

    Shards that an earlier start committed are not written again: the reading is repeated, since occurrence numbers
    depend on all rows before, and is cheap beside any model call. ``rows_per_shard`` is the plan's.
    """
    target = folder(target_url)
    done = set(committed(target))
    started = time.monotonic()
    for seeds in seed_tables(Manifest.from_json(plain), rows_per_shard=rows_per_shard):
        if seeds.index in done:
            yield read_entry(target, seeds.index).to_json()
        else:
            entry = tallied("seeds", fingerprint, seeds.index, seeds.table, seeds.rejected, started)
            entry = commit(target, Outcome(seeds.table, entry, {"rejected": seeds.rejected}))
            yield entry.to_json()
        started = time.monotonic()
