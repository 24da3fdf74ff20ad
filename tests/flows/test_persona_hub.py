"""Persona-to-Persona: who is asked for, and what an item records of where it comes from."""

import asyncio

import pyarrow as pa

from pipelines.flows.persona_hub import attributes, hub, persona_to_persona
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

PROMPTS = PromptSet("test", {"related": "{{ relation }} of {{ persona }}"})
TYPES = ["colleague", "patient", "supplier", "rival"]
ROW = {"id": "a1", "persona": "A luthier", "hop": 2}


class Scripted:
    """Says what it was asked for; nothing for a rival."""

    def __init__(self, draw=0):
        self.draw = draw

    async def chat(self, prompt):
        relation = prompt.fields["relation"]
        return Answer("" if relation == "rival" else f"Persona: A {relation} who whistles", "stop", 1, 1)


def people(fan_out, draw=0, row=ROW):
    flow = persona_to_persona(row, Scripted(draw), PROMPTS, relation_types=TYPES, fan_out=fan_out)
    return asyncio.run(flow)


def test_each_person_stands_alone_and_records_relation_parent_and_hop():
    items = people(4)
    assert {item.columns["relation"] for item in items} == set(TYPES)
    assert {(item.columns["parent_id"], item.columns["hop"]) for item in items} == {("a1", 3)}
    kept = {item.columns["relation"]: item.columns["persona"] for item in items if item.reason is None}
    assert kept["patient"] == "A patient who whistles"
    assert [item.columns["relation"] for item in items if item.reason == "unparsable"] == ["rival"]


def test_a_further_round_asks_for_those_that_were_not_drawn():
    first, second = ({item.columns["relation"] for item in people(2, draw)} for draw in (0, 1))
    assert first | second == set(TYPES)
    assert first == {item.columns["relation"] for item in people(2)}


def test_other_personas_draw_others_and_a_large_fan_out_begins_again():
    drawn = {tuple(i.columns["relation"] for i in people(4, row={**ROW, "id": str(n)})) for n in range(20)}
    assert len(drawn) > 5
    assert len(people(6)) == 6


def test_the_hub_has_one_set_of_columns_wherever_its_personas_are_from():
    table = pa.table(
        {
            "id": ["x"],
            "parent_ids": pa.array([[]], pa.list_(pa.string())),
            "text": ["A nurse"],
            "relation": ["read"],
            "provenance": pa.nulls(1),
        }
    )
    given, made = (hub(table, text_column="text", source=source) for source in ("given", "text"))
    assert given.schema == made.schema
    assert (given["relation"][0].as_py(), made["relation"][0].as_py()) == (None, "read")
    assert given.select(["persona", "hop", "parent_id"]).to_pylist() == [
        {"persona": "A nurse", "hop": 0, "parent_id": None}
    ]


def test_what_is_drawn_does_not_hang_on_the_order_of_a_table():
    table = {"region": {"north": 50, "south": 30, "west": 20}}
    turned = {"region": dict(reversed(table["region"].items()))}
    drawn = [attributes(table, str(lot)) for lot in range(200)]
    assert drawn == [attributes(turned, str(lot)) for lot in range(200)]
    assert {one["region"] for one in drawn} == {"north", "south", "west"}
