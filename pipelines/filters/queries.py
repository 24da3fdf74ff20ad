"""Reject rules for generated queries and the documents that they are asked of (papers.md 4.3)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.filters.text import strings


def fewer_chars(table: pa.Table, *, column: str, than: int) -> pa.BooleanArray:
    """Documents of fewer characters, title and text together."""
    count = pc.utf8_length(pc.fill_null(strings(table, column), ""))
    if "title" in table.column_names and column != "title":
        titles = pc.utf8_length(pc.fill_null(strings(table, "title"), ""))
        count = pc.add(count, pc.if_else(pc.greater(titles, 0), pc.add(titles, 1), 0))
    return pc.less(count, than)


def fewer_tokens(table: pa.Table, *, column: str, than: int) -> pa.BooleanArray:
    """Queries of fewer tokens; ``column`` counts them."""
    return pc.fill_null(pc.less(table[column].combine_chunks(), than), True)


def copied(table: pa.Table, *, query: str, document: str, enabled: bool) -> pa.BooleanArray:
    """Queries whose words stand in their document in a row, whatever the case and the marks between them."""
    if not enabled:
        return pa.array([False] * table.num_rows, pa.bool_())
    queries, documents = (words_of(strings(table, column)) for column in (query, document))
    pairs = zip(queries.to_pylist(), documents.to_pylist(), strict=True)
    return pa.array([bool(asked) and f" {asked} " in f" {told} " for asked, told in pairs], pa.bool_())


def words_of(texts: pa.Array) -> pa.Array:
    """Texts in lower case, everything between words a single space."""
    lower = pc.utf8_lower(pc.fill_null(texts, ""))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, r"[^\p{L}\p{N}]+", " "))
