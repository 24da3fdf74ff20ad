"""The seeds stage: input files become shards of seeds with ids, once; later stages never read the input again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipelines.stages.sift import tallied
from pipelines.store.commit import Outcome, commit
from pipelines.store.dataset import committed
from pipelines.store.files import Folder, folder
from pipelines.store.ledger import Entry, read_entry
from pipelines.store.manifest import Manifest
from pipelines.store.plan import Plan, slice_parts
from pipelines.store.seeds import seed_tables

#: Shards that are written while the next ones are read: packing them takes as long as reading them.
_WRITERS = 2


def settle_seeds(target: Folder, rows: int, shard_rows: int) -> Plan:
    """The frozen shards of the seeds stage over ``rows`` input rows; written now if it has not started."""
    return Plan.load(target) or Plan.extend(target, target, slice_parts([(0, 0, rows)], shard_rows, 0), [])


def ingest(plain: dict[str, Any], target_url: str, fingerprint: str, rows_per_shard: int) -> Iterator[str]:
    """Commit every seed shard of a manifest, in order; yields each shard's entry as JSON.

    Shards that an earlier start committed are not written again: the reading is repeated, since occurrence numbers
    depend on all rows before, and is cheap beside any model call. ``rows_per_shard`` is the plan's.
    """
    target = folder(target_url)
    done = set(committed(target))
    started = time.monotonic()
    with ThreadPoolExecutor(_WRITERS) as pool:
        writing: deque[Future[Entry]] = deque()
        for seeds in seed_tables(Manifest.from_json(plain), rows_per_shard=rows_per_shard):
            if seeds.index in done:
                writing.append(pool.submit(read_entry, target, seeds.index))
            else:
                entry = tallied("seeds", fingerprint, seeds.index, seeds.table, seeds.rejected, started)
                outcome = Outcome(seeds.table, entry, {"rejected": seeds.rejected})
                writing.append(pool.submit(commit, target, outcome))
            if len(writing) > _WRITERS:
                yield writing.popleft().result().to_json()
            started = time.monotonic()
        while writing:
            yield writing.popleft().result().to_json()
