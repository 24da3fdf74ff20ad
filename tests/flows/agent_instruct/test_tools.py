"""APIs as data: which lists are read, what becomes of their names, and which calls an API takes."""

import json

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from pipelines.filters.kind import kinds
from pipelines.flows.agent_instruct.tools import call_schema, distinct, marked, read_apis, required, shown, turn_schema


def parameter(name="harbour", kind="string", **more):
    return {"name": name, "type": kind, "required": True, "description": "which", **more}


def api(name="getTides", *parameters, **more):
    described = {"name": name, "description": "Gives tides.", "parameters": list(parameters), "returns": "a text"}
    return {**described, **more}


def takes(one, **arguments):
    return Draft202012Validator(call_schema(one)).is_valid({"name": one["name"], "arguments": arguments})


#: Lists as people give them.
GIVEN = {
    "one parameter": api("getTides", parameter()),
    "no parameters": api("now"),
    "errors": api("getTides", parameter(), errors=[{"code": 404, "description": "no such harbour"}]),
    "nothing is said to come back": {"name": "log", "description": "Notes.", "parameters": [parameter("line")]},
    "no key of parameters": {"name": "now", "description": "Gives the time.", "returns": "a time"},
    "ten parameters": api("plan", *(parameter(f"stop{number}") for number in range(10))),
    "a list for a parameter": api("plan", parameter("stops", "array", items={"type": "string"})),
    "an object for a parameter": api("plan", parameter("options", "object")),
    "a choice for a parameter": api("plan", parameter("unit", enum=["m", "ft"])),
    "a long name": api("get_the_table_of_tides_of_a_harbour_for_a_day_of_the_year", parameter()),
    "a parameter of few keys": api("plan", {"name": "unit", "type": "string"}),
    "Chinese": api("查询潮汐", parameter("港口")),
}


@pytest.mark.parametrize("one", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("form", [{}, {"indent": 1}, {"separators": (",", ":"), "ensure_ascii": False}], ids=str)
def test_lists_that_are_given_are_read_and_count_as_code_in_whatever_form(one, form):
    for text in (json.dumps([one], **form), json.dumps(one, **form)):
        assert read_apis(text) == [{"parameters": [], **one}]
        assert kinds(pa.table({"text": [text]}), column="text").to_pylist() == ["code"]


#: The same API as chat APIs and MCP servers have it.
TAKES = {
    "type": "object",
    "properties": {
        "harbour": {"type": "string", "description": "which"},
        "unit": {"type": ["null", "string"], "enum": ["m", "ft"]},
        "where": {"type": "object", "required": ["x"]},
    },
    "required": ["harbour"],
}
ELSEWHERE = {
    "chat API": {
        "type": "function",
        "function": {"name": "getTides", "description": "Gives tides.", "parameters": TAKES},
    },
    "flat": {"type": "function", "name": "getTides", "description": "Gives tides.", "parameters": TAKES},
    "MCP": {"name": "getTides", "description": "Gives tides.", "inputSchema": TAKES, "title": "Tides"},
    "another": {"name": "getTides", "description": "Gives tides.", "input_schema": TAKES},
}


@pytest.mark.parametrize("given", ELSEWHERE.values(), ids=ELSEWHERE)
def test_lists_in_the_form_of_chat_apis_are_read_and_count_as_code(given):
    text = json.dumps([given])
    [one] = read_apis(text)
    assert kinds(pa.table({"text": [text]}), column="text").to_pylist() == ["code"]
    assert [(it["name"], it["type"], it["required"]) for it in one["parameters"]] == [
        ("harbour", "string", True),
        ("unit", "string", False),
        ("where", "object", False),
    ]
    assert takes(one, harbour="Ostend", unit="m") and not takes(one, unit="m") and not takes(one, harbour=1)


def test_an_api_of_a_chat_api_that_takes_nothing():
    [one] = read_apis('{"name": "now", "description": "The time.", "parameters": {"type": "object"}}')
    assert one["parameters"] == [] and takes(one)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): pass",
        '{"name": "f", "description": "", "parameters": {"type": "object", "properties": {"a": 1}}}',
        '{"name": "f", "description": "", "parameters": {"type": "object", "properties": {"a": {}}}}',
        '{"name": "f", "description": "", "parameters": {"type": "object", "properties": []}}',
        '{"name": "f", "description": "", "parameters": {"type": "object", "properties": {}, "required": 1}}',
        '{"name": "f", "description": "", "parameters": {"type": [], "properties": {"a": {"type": ["null"]}}}}',
        '{"type": "function", "function": {"type": "function", "function": 1}}',
        "[]",
        '[{"name": "x"}]',
        '[{"name": "Ann", "description": "A nurse who walks on the beach every day."}]',
        json.dumps([api(" ! ")]),
        json.dumps([api("f", parameter(kind="tensor"))]),
        json.dumps([api("f", parameter(default=float("nan")))]),
        json.dumps([api()]).replace('"returns"', '"returns": 1e999, "more"'),
        '{"name": "f", "name": "g", "description": "", "parameters": []}',
        "[" * 100_000,
        json.dumps([api()])[:-2] + ', "more": ' + "[" * 900 + "]" * 900 + "}]",
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_list_of_apis(text):
    found = read_apis(text)
    assert found is None or shown(found)  # what is read can be shown


def test_a_page_of_json_about_people_is_no_list_of_apis():
    people = json.dumps([{"name": "Ann", "description": "A nurse who walks on the beach every day."}])
    assert kinds(pa.table({"text": [people]}), column="text").to_pylist() == ["text"]


def test_names_stay_as_they_are_given_where_they_are_identifiers():
    names = ["getTideTable", "_private", "fs.readFile", "A b", "2d-plot", "查询", "gettidetable", "!"]
    assert [one["name"] for one in distinct(map(api, names))] == [
        "getTideTable", "_private", "fs_readFile", "A_b", "_2d_plot", "查询",
    ]  # fmt: skip


def test_what_no_text_can_hold_is_not_in_a_list():
    [one] = read_apis(
        '{"name": "f\\ud800", "description": "\\udfff", "parameters": [{"name": "\\ud800", "type": "string"}]}'
    )
    assert one["name"] == "f" and one["parameters"][0]["name"] == "?"
    shown([one]).encode()


def test_a_call_passes_what_its_api_takes():
    plan = api(
        "plan",
        parameter("stops", "array", items={"type": "integer"}),
        parameter("unit", enum=["m", 3]),
        {"name": "options", "type": "object"},
        {"name": "any", "type": "array", "required": False},
    )
    assert [one["name"] for one in required(plan)] == ["stops", "unit"]
    assert takes(plan, stops=[1, 2], unit=3, options={"where": {"depth": [1, 2]}}, any=[{"a": None}, "b"])
    for wrong in (
        {"stops": [1]},
        {"stops": ["x"], "unit": "m"},
        {"stops": [], "unit": "ft"},
        {"stops": 1, "unit": "m"},
    ):
        assert not takes(plan, **wrong)
    for more in ({"options": []}, {"options": {"x": "y" * 2001}}, {"any": {}}, {"any": [[[["deep"]]]]}, {"more": 1}):
        assert not takes(plan, stops=[], unit="m", **more)


def test_where_there_is_no_api_nothing_can_be_called():
    turn = {"action": "decline", "text": "no", "calls": []}
    assert Draft202012Validator(turn_schema([], 9)).is_valid(turn)
    assert not Draft202012Validator(turn_schema([], 9)).is_valid({**turn, "calls": [{"name": "f", "arguments": {}}]})


def test_an_engine_can_be_held_to_every_schema_of_a_turn():
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not installed")
    from xgrammar.testing import _is_grammar_accept_string as accepts

    schema = turn_schema([{"parameters": [], **one} for one in GIVEN.values()], 100)
    grammar = xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False)
    call = {"name": "plan", "arguments": {"stops": ["a", "b"]}}
    assert accepts(grammar, json.dumps({"action": "call", "text": "", "calls": [call]}))
    call = {"name": "plan", "arguments": {"stops": [1]}}
    assert not accepts(grammar, json.dumps({"action": "call", "text": "", "calls": [call]}))


@pytest.mark.parametrize(
    ("text", "longest", "becomes"),
    [("the tide", 9, "the tide"), ("the tide t", 10, "the tide…"), ("潮汐表", 3, "潮汐…"), ("tides", 5, "tide…")],
)
def test_a_text_that_fills_its_length_ends_in_an_ellipsis(text, longest, becomes):
    assert marked(text, longest) == becomes and len(becomes) <= longest
