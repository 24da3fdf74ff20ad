"""Tool use: seven cases, each with what the assistant must do, and calls that are held to their API."""

import json
from collections import Counter

import pytest

from pipelines.flows.agent_instruct.shelf import Shelf
from pipelines.flows.agent_instruct.tool_use import CASES
from pipelines.flows.agent_instruct.tools import distinct, read_apis, speaks_of


def api(name, *parameters):
    return {
        "name": name,
        "description": f"Gives the {name}.",
        "parameters": [{"name": one, "type": "string", "required": True, "description": one} for one in parameters],
        "returns": "a text",
    }


TIDES, STOCK = api("tide_table", "harbour"), api("yarn_stock", "colour")
APIS = json.dumps([TIDES, STOCK])


def calling(*names, **more):
    argument = {"tide_table": "harbour", "yarn_stock": "colour"}
    calls = [{"name": name, "arguments": {argument[name]: "x", **more}} for name in names]
    return {"action": "call", "text": "", "calls": calls}


def saying(action, text):
    return {"action": action, "text": text, "calls": []}


@pytest.fixture
def case(teach, skills):
    """One case of the two APIs with what the assistant says: the only item, and the model."""

    def run(name, question, **script):
        change = {"types": {name: skills["tool_use"]["types"][name]}}
        script = {"request": {"request": "I would like to know it."}, "tool_result": {"result": "4 m"}, **script}
        items, llm = teach("tool_use", text=APIS, change=change, scale={"rounds": 0}, question=question, **script)
        [item] = items
        return item, llm

    return run


def everything(prompt):
    """Calls each API that is there."""
    return calling(*[one["name"] for one in json.loads(prompt.fields["content"])])


def test_a_seed_that_is_a_list_of_apis_is_taken_as_it_is(case):
    item, llm = case("t4_several_apis", everything)
    assert item.reason is None and "describe_apis" not in llm.asked
    assert [turn["role"] for turn in json.loads(item.columns["messages"])] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip


def needed(item):
    return json.loads(item.columns["expected"])["apis"]


@pytest.mark.parametrize("name", [name for name, (_, absent, unsaid) in CASES.items() if not absent and not unsaid])
def test_what_is_all_there_must_be_called(case, name):
    assert case(name, everything)[0].reason is None
    item, _ = case(name, saying("ask", "Which one?"))
    assert (item.reason, item.detail) == ("did_not_call", "ask")


@pytest.mark.parametrize("name", ["t3_missing_parameter", "t5_several_missing"])
def test_what_is_unsaid_must_be_asked_for_by_its_name(case, name):
    turns = [json.dumps(calling("tide_table", "yarn_stock")), "Done."]
    item, _ = case(name, saying("ask", "Which harbour and which colour?"), turn=turns)
    assert item.reason is None
    assert [turn["role"] for turn in json.loads(item.columns["messages"])][:4] == ["user", "assistant"] * 2
    assert case(name, everything)[0].reason == "did_not_ask"
    assert case(name, saying("ask", "Could you say more?"))[0].reason == "did_not_ask"


@pytest.mark.parametrize("name", ["t6_absent_api", "t7_some_absent"])
def test_an_ability_that_is_absent_must_be_named(case, name):
    item, _ = case(name, saying("decline", "I have no access to a tide table or to yarn stock."))
    assert item.reason is None
    hidden = set(needed(item)) - {one["name"] for one in json.loads(item.columns["content"])}
    assert len(hidden) == 1
    assert case(name, saying("decline", "I cannot."))[0].reason == "did_not_decline"
    assert case(name, everything)[0].reason == "did_not_decline"


@pytest.mark.parametrize(
    "more", [{"extra": "key"}, {"harbour": 3, "colour": 3}, {"harbour": "x" * 10_000, "colour": "x" * 10_000}]
)
def test_a_call_that_its_api_does_not_take(case, more):
    item, _ = case("t4_several_apis", calling("tide_table", "yarn_stock", **more))
    assert item.reason == "off_schema"


def test_a_request_that_says_what_it_was_to_leave_out(case):
    item, _ = case("t3_missing_parameter", everything, request={"request": "The harbour is Kiel and the colour red."})
    assert item.reason == "says_what_is_missing"


def test_code_becomes_a_list_that_is_enlarged_in_both_ways(teach):
    ways = Counter()
    for seed in range(20):
        items, llm = teach(
            "tool_use",
            text="def tide_table(harbour): ...",
            seed=str(seed),
            scale={"rounds": 0},
            library=["def yarn_stock(colour): ...  # tide", "def other(): ..."],
            describe_apis=lambda prompt: {"apis": [STOCK if "yarn" in prompt.fields["content"] else TIDES]},
            sibling_apis={"apis": [STOCK]},
            request={"request": "I would like to know it."},
            question=everything,
            tool_result={"result": "4 m"},
        )
        ways[items[0].columns["transformer"]] += 1
        asked = [prompt.fields["content"] for prompt in llm.prompts if prompt.template == "describe_apis"]
        if items[0].columns["transformer"] == "retrieval":
            assert "yarn_stock" in asked[1]
        else:
            assert len(asked) == 1 and "sibling_apis" in llm.asked
    assert set(ways) == {"retrieval", "library_reconstruction"}


def test_apis_are_read_only_where_they_are_whole():
    assert read_apis(APIS) == [TIDES, STOCK]
    assert read_apis(json.dumps(TIDES)) == [TIDES]
    assert read_apis("def f(): pass") is None
    assert read_apis('[{"name": "x"}]') is None
    assert [one["name"] for one in distinct([api("A b"), api("a-b"), api("!")])] == ["a_b"]


@pytest.mark.parametrize(
    ("text", "name", "speaks"),
    [
        ("When does it start?", "start_date", True),
        ("Which dates?", "startDate", True),
        ("Tell me more.", "start_date", False),
        ("Which id?", "id", False),
    ],
)
def test_whether_a_text_speaks_of_a_parameter(text, name, speaks):
    assert speaks_of(text, name) is speaks


def test_a_shelf_finds_what_shares_rare_words_and_nothing_twice():
    shelf = Shelf(["def tideTable(harbour): pass", "def yarn(colour): pass", "def third(): pass"])
    assert shelf.nearest("the harbour of the tide", []) == "def tideTable(harbour): pass"
    assert shelf.nearest("the harbour of the tide", ["def tideTable(harbour): pass"]) is None
