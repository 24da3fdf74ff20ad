"""Near-duplicates by MinHash: shingle, sign, band, verify every candidate, keep one row a cluster.

``find(dataset, text_column="persona")`` decides; it removes nothing. Signatures are those of
``datasketch.MinHash(num_perm, seed=1, scheme=scheme, hashfunc=token_hash32)`` bit for bit (``comparison.signatures``).
Kernels run on every CPU that this process may use, without Python objects of rows or words, and the result is the same
on any number of them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.comparison import Comparison, Keys, proposed, signatures
from pipelines.dedup.found import Found, Source, removed_table
from pipelines.dedup.order import keeper_order
from pipelines.dedup.scan import Scanned, scan
from pipelines.dedup.shingles import ShingleSets, token_hash32, token_hash64
from pipelines.dedup.standing import Standing, distinct, home
from pipelines.errors import UserError
from pipelines.store.dataset import Dataset, committed
from pipelines.store.files import folder
from pipelines.store.lease import holder
from pipelines.store.record import read_record
from pipelines.store.survey import finished, survey

__all__ = ["find", "remember", "signatures", "token_hash32", "token_hash64"]


def find(
    dataset: Source,
    *,
    text_column: str,
    threshold: float = 0.9,
    num_permutations: int = 128,
    bands: int | None = None,
    ngram: int = 1,
    unit: str = "word",
    normalise: Sequence[str] = (),
    hash: str = "token",
    scheme: str = "affine32",
    verify: str = "exact",
    clusters: str = "chains",
    keep: str = "first",
    score_column: str | None = None,
    against: str | None = None,
) -> Found:
    """Rows whose shingle sets have a Jaccard similarity of at least ``threshold``; one of a cluster stays.

    The result is the same in any order of the input and on any number of CPUs. Rows without a shingle are like nothing
    and stay.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: what is compared.
        threshold: Jaccard similarity, in (0, 1].
        num_permutations: signature size.
        bands: bands of the index, of ``num_permutations // bands`` each; None takes the fewest that propose 99.9% of
            the pairs at the threshold. ``stats["proposed_at_threshold"]`` says what share they propose.
        ngram: words or characters of a shingle.
        unit: ``word`` or ``character``.
        normalise: ``nfkc``, ``lowercase``, ``strip_punctuation``; for the comparison only.
        hash: ``token`` (ours) or ``sha1`` (datasketch's).
        scheme: datasketch's ``affine32`` or ``affine64``.
        verify: ``exact`` compares candidates by their sets, ``estimate`` by their signatures.
        clusters: ``chains`` joins whatever is connected; ``star`` goes through the rows in keeper order and removes
            one only if a row that stays is alike.
        keep: which row of a cluster stays: ``first`` (lowest id), ``longest`` (text) or ``highest`` (score_column).
        score_column: a column of numbers, for ``highest``.
        against: a standing index (``standing.py``): rows like one that an earlier run kept go, too.

    Raises:
        UserError: a setting out of range, a column that is absent or of a wrong type, ids that are not unique, an index
            that was made with other settings.
    """
    comparison = Comparison.asked(
        threshold, num_permutations, bands, ngram, unit, normalise, hash, scheme, verify, clusters, keep
    )
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        standing = _standing(against, comparison, dataset.origin, text_column, pool) if against else None
        scanned = scan(dataset, text_column, score_column, comparison, pool)
        return _decided(scanned, comparison, standing, pool)


def remember(dataset: Source, *, run: str, state: str, text_column: str, against: str, **knobs: Any) -> None:
    """Add the rows that a run kept to the index ``against``; ``knobs`` are those of ``find``.

    ``state`` is a word for what the run kept: a run that has not changed is not added again.
    """
    names = inspect.signature(Comparison.asked).parameters
    comparison = Comparison.asked(**{name: value for name, value in knobs.items() if name in names})
    standing = Standing(home(against), comparison, run)
    if not standing.has(run, state):
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            standing.add(run, state, scan(dataset, text_column, None, replace(comparison, keep="first"), pool))


def _standing(against: str, comparison: Comparison, run: str, text_column: str, pool: ThreadPoolExecutor) -> Standing:
    """The index as ``run`` is held against it; that of an earlier run has what is in its ``data/`` now."""
    place = folder(against)
    if "manifest.json" in place.names() and (earlier := read_record(place, "stages.json")["run"]) != run:
        if holder(place) is not None or not finished(place, survey(place)):
            raise UserError(f"dedup.against={against}: the run there is not finished; run it to its end first")
        state, known = read_record(place, "metadata.json")["state"], Standing(home(against), comparison, earlier)
        if not known.has(earlier, state):
            data = Dataset.of(place.sub("data"), dict.fromkeys(committed(place.sub("data")), 0))
            known.add(earlier, state, scan(data, text_column, None, replace(comparison, keep="first"), pool))
    return Standing(home(against), comparison, run)


def _decided(scanned: Scanned, comparison: Comparison, standing: Standing | None, pool: ThreadPoolExecutor) -> Found:
    """Buckets, then verified edges, then who goes. Rows of the index come first, those of the dataset after them."""
    from pipelines.dedup.clusters import bucket_edges, keep_first, keepers, numbered

    rows = scanned.rows
    theirs, buckets = _proposed_pairs(scanned, comparison, standing, pool)
    given = np.unique(np.concatenate([numbers for _, numbers in theirs]))
    candidates = np.zeros(rows, bool)
    for _, members in buckets:
        candidates[members] = True
    places = np.flatnonzero(candidates)
    ids, order = _ranked(scanned, places, comparison.keep)
    number = np.empty(rows, np.int32)
    number[places[order]] = np.arange(len(given), len(given) + len(places), dtype=np.int32)
    sets = _gathered(scanned.sets, places, order)
    if standing is not None:
        known_ids, known_sets = standing.fetched(given)
        ids, sets = pa.concat_arrays([known_ids, ids]), _joined(known_sets, sets)
    sketches = comparison.sketches(sets)
    ranked = [
        _merged(keys, number[members], their_keys, np.searchsorted(given, numbers))
        for (keys, members), (their_keys, numbers) in zip(buckets, theirs, strict=True)
    ]
    if comparison.clusters == "star":
        table = np.full((comparison.bands, len(ids)), -1, np.int32)
        count = 0
        for band, (keys, members_) in enumerate(ranked):
            count = numbered(keys, members_, count, table[band])
        keeper, compared = keep_first(table, count, len(given), *sets, sketches, comparison.threshold)
        via = keeper
    else:
        found = list(
            pool.map(
                lambda one: bucket_edges(one[0], one[1], len(given), *sets, sketches, comparison.threshold), ranked
            )
        )
        keeper, via = keepers(len(ids), np.concatenate([edges for edges, _ in found]))
        compared = sum(pairs for _, pairs in found)
    gone = np.flatnonzero(keeper != np.arange(len(keeper)))
    gone = gone[gone >= len(given)]
    similarity = _similarity(sets, sketches, gone, keeper[gone])
    via_similarity = _similarity(sets, sketches, gone, via[gone])
    removed = removed_table(ids, gone, keeper[gone], "minhash", similarity, via[gone], via_similarity)
    stats: dict[str, Any] = {
        "rows": rows,
        "removed": len(gone),
        "clusters": len(np.unique(keeper[gone])),
        "without_shingles": int(sum((one.sizes == 0).sum() for one in scanned.sets)),
        "candidates": len(places),
        "pairs_compared": int(compared),
        "bands": comparison.bands,
        "proposed_at_threshold": round(
            proposed(comparison.threshold, comparison.num_permutations, comparison.bands), 6
        ),
    }
    if standing is not None:
        stats["against"] = {
            "rows": standing.rows,
            "candidates": len(given),
            "removed": int((keeper[gone] < len(given)).sum()),
            "bytes_read": standing.bytes_read,
        }
    return Found(removed.sort_by("id"), stats)


def _proposed_pairs(
    scanned: Scanned, comparison: Comparison, standing: Standing | None, pool: ThreadPoolExecutor
) -> tuple[list[tuple[Keys, NDArray[np.int64]]], list[tuple[Keys, NDArray[np.int32]]]]:
    """For each band, keys and rows of the index that are also tonight's, and tonight's buckets; keys are let go."""
    bands = range(comparison.bands)
    every = [[keys[band] for keys in scanned.keys] for band in bands]
    theirs = list(pool.map(lambda band: _known(standing, band, every[band]), bands))
    # Each segment is sorted by itself only.
    buckets = list(pool.map(lambda band: _buckets(every[band], np.unique(theirs[band][0])), bands))
    scanned.keys.clear()
    return theirs, buckets


def _known(standing: Standing | None, band: int, chunks: Sequence[Keys]) -> tuple[Keys, NDArray[np.int64]]:
    """Keys of one band that rows of the index have, too, and those rows."""
    if standing is None:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return standing.matches(band, distinct(chunks))


def _joined(one: ShingleSets, other: ShingleSets) -> ShingleSets:
    starts = np.concatenate([one.starts, other.starts + len(one.hashes)])
    return ShingleSets(np.concatenate([one.hashes, other.hashes]), starts, np.concatenate([one.sizes, other.sizes]))


def _merged(keys: Keys, rows: Any, their_keys: Keys, their_rows: Any) -> tuple[Keys, NDArray[np.int64]]:
    """Two sorted lists of keys with their rows as one."""
    both, members = np.concatenate([their_keys, keys]), np.concatenate([their_rows, rows]).astype(np.int64)
    if not len(their_keys):
        return both, members
    order = np.argsort(both, kind="stable")
    return both[order], members[order]


def _buckets(chunks: Sequence[Keys], known: Keys) -> tuple[Keys, NDArray[np.int32]]:
    """Keys that two rows or more have in one band, or one row and the index (``known``, sorted); and their rows."""
    from pipelines.dedup.bands import shared

    keys = np.concatenate([*chunks, np.zeros(0, np.uint64)])
    slots = 1 << max(10, (8 * len(keys)).bit_length())
    rows = shared(keys, slots, np.empty(slots // 4, np.uint8))
    if len(known):
        rows = np.union1d(rows, np.flatnonzero(_among(keys, known)))
    found = keys[rows]
    order = np.argsort(found)
    found = found[order]
    same = np.zeros(len(found), bool)
    same[1:] = found[1:] == found[:-1]
    same[:-1] |= same[1:]
    if len(known):
        same |= _among(found, known)
    return found[same], rows[order[same]].astype(np.int32)


def _among(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Which keys are among the known ones (sorted)."""
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found


def _ranked(scanned: Scanned, places: NDArray[np.int64], keep: str) -> tuple[pa.Array, NDArray[np.int64]]:
    """Ids of the candidate rows in keeper order, and that order of ``places``."""
    ids = pa.concat_arrays([pa.array([], pa.string()), *scanned.ids]).take(pa.array(places))
    scores = None if keep == "first" else np.concatenate([*scanned.scores, np.zeros(0)])[places]
    order = keeper_order(ids, keep, scores)
    return ids.take(pa.array(order)), order


def _gathered(chunks: Sequence[ShingleSets], places: NDArray[np.int64], order: NDArray[np.int64]) -> ShingleSets:
    """The sets of the rows at ``places`` (ascending), numbered by ``order``."""
    from pipelines.dedup.sets import copied

    sizes: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    hashes: list[Keys] = [np.zeros(0, np.uint64)]
    start = 0
    for chunk in chunks:
        end = start + len(chunk.sizes)
        inside = places[np.searchsorted(places, start) : np.searchsorted(places, end)] - start
        sizes.append(chunk.sizes[inside])
        hashes.append(copied(chunk.hashes, chunk.starts, chunk.sizes, inside))
        start = end
    each = np.concatenate(sizes)
    return ShingleSets(np.concatenate(hashes), (np.cumsum(each) - each)[order], each[order])


def _similarity(sets: ShingleSets, sketches: NDArray[Any], xs: Any, ys: Any) -> NDArray[np.float64]:
    """The similarity of pairs as it was verified: of the sets, or of the signatures."""
    from pipelines.dedup.sets import jaccard

    if len(sketches):
        estimates: NDArray[np.float64] = (sketches[xs] == sketches[ys]).mean(axis=1)
        return estimates
    exact: NDArray[np.float64] = jaccard(*sets, xs, ys)
    return exact
