"""The ancestry of one row: what became of it stage by stage, how it was made, and the same of its parents, to the seed.

Answers for any id of a run: a final row, a rejected item, a row removed as a duplicate, one that waits in quarantine,
a seed. A prompt and its raw answers come from ``calls/``; with ``io.keep_calls=false`` there are none to show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from pipelines.dedup.found import REMOVED
from pipelines.rows import RESERVED, VERDICT
from pipelines.store.dataset import part_name
from pipelines.store.files import folder
from pipelines.store.survey import StageNow, survey
from pipelines.summary import plain
from pipelines.verbs.calls import SHOWN, body, call_lines, call_of, heading, json_ready, turn_lines
from pipelines.verbs.lookup import Home, find, home_of_input, place_in_part, record_of, rows_where, side_rows, takers


def explain(run: str, row_id: str) -> dict[str, Any]:
    """The ancestry of the row with this id, or with the only id that begins so (6 characters or more).

    Returns:
        ``run``, and ``row``: its ``id``, ``columns``, ``provenance``, the ``calls`` it was made from (None where they
        were not kept; ``taken`` is the answer that it was read from, from 0), its ``path`` (what became of it, an event
        a stage), and its ``parents``, told in the same way.

    Raises:
        UserError: the folder holds no run, or the id is unknown or ambiguous.
    """
    place = folder(run)
    stages = survey(place)
    home = find(stages, row_id)
    return {"ok": True, "run": place.url, "row": _row(stages, home, until=len(stages))}


def _row(stages: Sequence[StageNow], home: Home, until: int) -> dict[str, Any]:
    """One row told; its path ends before the stage at place ``until``."""
    stage = stages[home.stage]
    record = record_of(stages, home)
    parents = record.get("parent_ids") or ([record["row_id"]] if "row_id" in record else [])
    made = stage.record.kind == "flow"
    # What a rejected row has beside its own columns; a dedup says more of it.
    verdict = () if home.kept else (*VERDICT, *(REMOVED.names if stage.record.kind == "dedup" else ()))
    own = {k: v for k, v in record.items() if k not in (*RESERVED, *verdict)}
    provenance = record.get("provenance") or {}
    return {
        "id": home.id,
        "columns": json_ready(own),
        "provenance": json_ready({k: v for k, v in provenance.items() if v is not None}),
        "calls": _calls_of_item(stage, home.shard, parents[0], provenance) if made and parents else [],
        "path": list(_path(stages, home, record, until)),
        "parents": [_parent(stages, home, number, id_) for number, id_ in enumerate(parents)] if made else [],
    }


def _parent(stages: Sequence[StageNow], child: Home, number: int, id_: str) -> dict[str, Any]:
    # The first parent is the row that the child's shard read; a flow may name further ones of any stage.
    home = home_of_input(stages, child.stage, child.shard, id_) if number == 0 else None
    return _row(stages, home or find(stages, id_), until=child.stage)


def _path(stages: Sequence[StageNow], home: Home, record: Mapping[str, Any], until: int) -> Iterator[dict[str, Any]]:
    """What became of a row: where it was born, then each stage that took it up."""
    born = stages[home.stage]
    if not home.kept:
        yield _rejection(born, record)
        return
    yield {"stage": born.record.name, "outcome": "kept"}
    part, row = home.shard, place_in_part(born, home.shard, home.id)
    stage = born
    while True:
        following = [
            one
            for one in stages[stage.record.number + 1 : until]
            if one.record.source == stage.record.number and not one.record.born
        ]
        taken = [(one, [shard.index for shard in takers(one, part, row, home.id)]) for one in following]
        # Of several, each takes some of the rows.
        taken = [(one, shards) for one, shards in taken if shards or one.record.take is None]
        for one, planned in taken:
            if not (shards := [shard for shard in planned if shard in one.entries]):
                yield {"stage": one.record.name, "outcome": "waiting"}
            elif one.record.kind == "flow":
                yield from (_taken_up(one, shard, home.id) for shard in shards)
            else:
                stage, part, row = one, shards[-1], place_in_part(one, shards[-1], home.id)
        if not taken or taken[-1][0] is not stage:
            return
        if row < 0:
            yield from (_rejection(stage, found) for found in side_rows(stage, part, "rejected", home.id))
            return
        yield {"stage": stage.record.name, "outcome": "kept"}


def _rejection(stage: StageNow, record: Mapping[str, Any]) -> dict[str, Any]:
    """A no, by its reason; where a duplicate was removed, with the row that stays in its place."""
    told = {"stage": stage.record.name, "outcome": "rejected", "reason": record["reason"]}
    more = ("detail",) if stage.record.kind != "dedup" else REMOVED.names[1:]
    return told | {name: record[name] for name in more if record.get(name) not in (None, "")}


def _taken_up(stage: StageNow, shard: int, row_id: str) -> dict[str, Any]:
    """What a flow made of a row in one shard: items, or an error and the request that broke."""
    told: dict[str, Any] = {"stage": stage.record.name, "calls": _calls(stage, shard, row_id)}
    for failed in side_rows(stage, shard, "failed", row_id):
        request = json.loads(failed["request"]) if failed["request"] else None
        return told | {"outcome": "failed", "error": failed["error"], "message": failed["message"], "request": request}
    kept = rows_where(stage.record.folder, part_name(shard), "parent_ids", row_id)
    rejected = side_rows(stage, shard, "rejected", row_id)
    for call in told["calls"] or ():
        rests = [item["id"] for item in (*kept, *rejected) if call["number"] - 1 in _numbers(item["provenance"])]
        call["items"] = rests
    return told | {
        "outcome": "used",
        "items_kept": [item["id"] for item in kept],
        "items_rejected": [{"id": item["id"], "reason": item["reason"]} for item in rejected],
    }


def _calls(stage: StageNow, shard: int, row_id: str) -> list[dict[str, Any]] | None:
    """The calls of a row; None: not stored."""
    entry = stage.entries[shard]
    if entry.calls and "calls" not in entry.files:
        return None
    return [call_of(call) for call in side_rows(stage, shard, "calls", row_id)]


def _calls_of_item(
    stage: StageNow, shard: int, row_id: str, provenance: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
    """Those calls of a row that one of its items rests on (all, where that is not known); None: not stored."""
    every, rests_on = _calls(stage, shard, row_id), _numbers(provenance)
    found = [call for call in every or () if not rests_on or call["number"] - 1 in rests_on]
    for call in found:
        # A seed is a hash of what was asked, and how often.
        read = (call["prompt_id"], call["seed"]) == (provenance.get("prompt_id"), provenance.get("seed"))
        call["taken"] = provenance.get("n_index") if read else None
    return None if every is None else found


def _numbers(provenance: Mapping[str, Any] | None) -> Sequence[int]:
    """Which of its row's calls an item rests on, as ``calls/`` counts them."""
    return (provenance or {}).get("calls") or ()


def render(result: Mapping[str, Any]) -> Tree:
    """The ancestry as a tree: the row, how it was made, then its parents below it."""
    return _branch(result["row"], None)


def _branch(row: Mapping[str, Any], parent: Tree | None) -> Tree:
    last = row["path"][-1]
    title = heading(f"{row['id']}  {_event(last)}")
    tree = Tree(title) if parent is None else parent.add(title)
    for name, value in row["columns"].items():
        tree.add(Group(heading(name), body(value)) if len(str(value)) > 60 else _pair(name, value))
    if len(row["path"]) > 1:
        path = tree.add(heading("what became of it"))
        for event in row["path"]:
            node = path.add(Text(plain(_event(event), SHOWN)))
            _add_calls(node, event.get("calls", []))
            if event.get("request") and not event["calls"]:
                node.add(Group(*turn_lines(event["request"]["messages"])))
    if row["provenance"]:
        # The calls stand below, with their numbers.
        shown = {k: v for k, v in row["provenance"].items() if k not in ("logprobs", "calls")}
        tree.add(_pair("provenance", ", ".join(f"{k} {v}" for k, v in shown.items())))
    _add_calls(tree, row["calls"])
    for above in row["parents"]:
        _branch(above, tree.add(heading("made from")))
    return tree


def _add_calls(tree: Tree, calls: Sequence[Mapping[str, Any]] | None) -> None:
    if calls is None:
        tree.add(Text("its prompts and answers were not stored (io.keep_calls=false)"))
    for call in calls or ():
        tree.add(Group(*call_lines(call)))


def _pair(name: str, value: object) -> Text:
    return Text.assemble((f"{plain(name)}: ", "bold"), plain(value, SHOWN))


def _event(event: Mapping[str, Any]) -> str:
    """One event of a path in words."""
    match event["outcome"]:
        case "kept":
            said = "kept"
        case "waiting":
            said = "not reached yet; run the same command to go on"
        case "failed":
            said = f"failed, {event['error']}: {event['message']}; retry=failed tries it again"
        case "used":
            turned_away = [f"{item['id']} ({item['reason']})" for item in event["items_rejected"]]
            parts = [("kept", event["items_kept"]), ("rejected", turned_away)]
            said = "its items: " + "; ".join(f"{what} {', '.join(ids)}" for what, ids in parts if ids)
        case _ if "keeper_id" in event:
            said = f"removed as a duplicate of {event['keeper_id']} ({event['method']} {event['similarity']:.3f})"
            if event["via_id"] != event["keeper_id"]:
                said += f", tied in by {event['via_id']} ({event['via_similarity']:.3f})"
        case _:
            detail = f" ({event['detail']})" if event.get("detail") else ""
            said = f"rejected, {event['reason']}{detail}"
    return f"{event['stage']}: {said}"
