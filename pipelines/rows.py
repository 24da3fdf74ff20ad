"""What a row is: its id, its parents, its provenance, and what a flow returns for it.

A row in Parquet looks like
``{id: "6f0c...", parent_ids: ["91ab..."], persona: "A luthier who ...", provenance: {stage: "personas", ...}}``.
Ids are 32 hexadecimal digits of BLAKE2b: the same input and recipe give the same ids on any machine, in any order,
in any number of workers. Nothing here knows of files, engines or Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Row = Mapping[str, Any]

#: Column names that Nightmill owns; an input column of that name becomes ``input_<name>``.
RESERVED = ("id", "parent_ids", "provenance")
#: What a rejected row has beside its own columns; such a column of its own becomes ``input_<name>`` there.
VERDICT = ("row_id", "reason", "detail")

#: One struct a row: how it was made (papers.md 0.1). Null in rows that no model made.
PROVENANCE = pa.struct(
    [
        ("stage", pa.string()),
        ("recipe", pa.string()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("engine", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt_hash", pa.string()),
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("top_k", pa.int64()),
        ("max_tokens", pa.int64()),
        ("seed", pa.int64()),
        ("n_index", pa.int64()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("trimmed", pa.bool_()),
        ("logprobs", pa.list_(pa.float32())),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("attempt", pa.string()),
        ("calls", pa.list_(pa.int32())),  # which of its row's calls the item rests on, as ``calls/`` numbers them
    ]
)


def digest(*parts: object) -> str:
    """32 hexadecimal digits naming ``parts``; parts that differ anywhere, or are cut elsewhere, differ here."""
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            raw = part
        else:
            # Ids are made for every row: a string or number is not worth a detour through JSON.
            text = part if isinstance(part, str) else str(part) if isinstance(part, int) else canonical(part)
            raw = text.encode("utf-8", "surrogatepass")
        pieces += (len(raw).to_bytes(8, "little"), raw)
    return hashlib.blake2b(b"".join(pieces), digest_size=16).hexdigest()


def storable(text: str) -> str:
    """Text without lone surrogates, which JSON from a model may hold and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def beside(taken: Collection[str], name: str, others: Collection[str] = ()) -> str:
    """``name``, or where it is ``taken``, the first ``input_<name>`` (``input_input_<name>``...) that is free."""
    free = name
    while free in taken or (free != name and free in others):
        free = f"input_{free}"
    return free


def python_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """A table's rows as dictionaries.

    What Python has no type for (the year 10000, a struct with two fields of one name) is given as text.
    """
    try:
        return table.to_pylist()  # type: ignore[no-any-return]
    except (ArithmeticError, ValueError, pa.ArrowException):
        columns = [_python_values(column) for column in table.columns]
        return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _python_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ArithmeticError, ValueError, pa.ArrowException):
        pass
    try:
        return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
    except pa.ArrowException:
        return [column.slice(place, 1).to_string() for place in range(len(column))]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the form in which settings are hashed and compared."""
    return _CANONICAL.encode(value)


def item_id(fingerprint: str, row_id: str, index: int) -> str:
    """Id of the ``index``-th item that the stage with this fingerprint made from a row."""
    return digest(fingerprint, row_id, index)


def sampling_seed(run_seed: int, row_id: str, messages: tuple[tuple[str, str], ...], before: int, draw: int = 0) -> int:
    """Seed of a row's model call: a function of what is asked and how often it was asked ``before``, of nothing else.

    ``draw`` says how often the row went through the flow before.

    53 bits: what JSON carries exactly, and few enough collisions (in 10,000,000 calls, 1 chance in 180 of one).
    """
    asked = (text for turn in messages for text in turn)
    again = (("draw", draw),) if draw else ()
    return int(digest("sampling", run_seed, row_id, before, *asked, *again)[:14], 16) >> 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample of one model call.

    Attributes:
        text: what the model wrote, without stop strings.
        finish_reason: ``stop``, or ``length`` when ``max_tokens`` cut it.
        prompt_tokens: tokens of the prompt; completion_tokens: tokens of this sample.
        cached_tokens: tokens of the prompt that the engine had from an earlier one; 0 where it does not say.
        seed: the sampling seed of the call; n_index: which of its samples this is.
        trimmed: whether the prompt was shortened to fit; sent: its turns as they were sent then, else None.
        logprobs: log-probability of each sampled token (natural log), or None when not asked for.
        pieces: the texts of these tokens.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seed: int = 0
    n_index: int = 0
    logprobs: tuple[float, ...] | None = None
    prompt_id: str = ""
    prompt_hash: str = ""
    trimmed: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sent: tuple[tuple[str, str], ...] | None = None
    cached_tokens: int = 0
    pieces: tuple[str, ...] | None = None

    @property
    def cut(self) -> bool:
        """Whether ``max_tokens`` ended the answer; such an answer is never kept unmarked."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Item:
    """What a flow returns: kept when ``reason`` is None, otherwise rejected by that name.

    Attributes:
        columns: its values.
        answer: what it was read from, which provenance is of.
        detail: more of the reason.
        parents: ids of rows that it was made from, beside the flow's own.
        after: places, among what the flow returns, of the items that it was made from.
        on: answers that it rests on beside ``answer``, such as that of a step before.
    """

    columns: Mapping[str, Any]
    answer: Answer | None = None
    reason: str | None = None
    detail: str = ""
    parents: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    on: tuple[Answer, ...] = ()


def keep(answer: Answer | None = None, /, *, parents: tuple[str, ...] = (), **columns: Any) -> Item:
    """A kept item: its columns, and the answer it was read from (for provenance)."""
    return Item(columns, answer, parents=parents)


def reject(reason: str, answer: Answer | None = None, /, *, detail: str = "", **columns: Any) -> Item:
    """A rejected item: the rule that said no (a short fixed name), and what is known of the item."""
    return Item(columns, answer, reason, detail)
