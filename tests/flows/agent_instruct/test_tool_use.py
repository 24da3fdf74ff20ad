"""Tool use: seven cases, each with what the assistant must do, and calls that are held to their API."""

import json
from collections import Counter

import pytest

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.tool_cases import CASES


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


def too_long(prompt):
    raise PromptTooLong(9000, 4000)


@pytest.fixture
def case(teach, skills):
    """One case of the two APIs with what the assistant says: the only item, and the model."""

    def run(name, question, *, apis=APIS, **script):
        items, llm = cases(teach, skills, name, question=question, text=apis, scale={"rounds": 0}, **script)
        [item] = items
        return item, llm

    return run


@pytest.fixture
def refined(teach, skills):
    """One case whose request is refined once: the first item, the refined one, and the model."""

    def run(name, question, edited, **script):
        edit = {"edit_instruction": {"instruction": edited, "answer": "A few words."}}
        items, llm = cases(teach, skills, name, question=question, text=APIS, **edit, **script)
        [first, second] = items
        return first, second, llm

    return run


def cases(teach, skills, name, **how):
    change = {"types": {name: skills["tool_use"]["types"][name]}}
    script = {"request": {"request": "I would like to know it."}, "tool_result": {"result": "4 m"}, **how}
    return teach("tool_use", change=change, **script)


def everything(prompt):
    """Calls each API that is there."""
    return calling(*[one["name"] for one in json.loads(prompt.fields["content"])])


def test_a_seed_that_is_a_list_of_apis_is_taken_as_it_is(case):
    item, llm = case("t4_several_apis", everything)
    assert item.reason is None and "describe_apis" not in llm.asked
    assert roles(item) == ["user", "assistant", "tool", "assistant"]


def roles(item):
    return [turn["role"] for turn in json.loads(item.columns["messages"])]


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
    assert roles(item)[:4] == ["user", "assistant"] * 2
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


@pytest.mark.parametrize("said", ["Sorry, the tool is not there for that and you.", "I have no data to give you."])
def test_words_that_any_sentence_has_name_no_ability(case, said):
    chatty = [
        {**one, "description": f"This is the tool that gives you data for a {one['name']}."} for one in (TIDES, STOCK)
    ]
    item, _ = case("t6_absent_api", saying("decline", said), apis=json.dumps(chatty))
    assert item.reason == "did_not_decline"


def test_what_is_there_may_be_called_where_the_rest_is_named(case):
    def partly(prompt, said="I cannot look up a tide table or yarn stock."):
        return {**everything(prompt), "text": said}

    item, _ = case("t7_some_absent", partly)
    assert item.reason is None and roles(item) == ["user", "assistant", "tool", "assistant"]
    absent = json.loads(item.columns["expected"])["absent"]
    assert len(absent) == 1 and item.columns["response"].count('"name"') == 1
    assert case("t7_some_absent", lambda prompt: partly(prompt, "Here it is."))[0].reason == "did_not_decline"
    nothing_called = {"action": "call", "text": "No tide table, no yarn stock.", "calls": []}
    assert case("t7_some_absent", nothing_called)[0].reason == "did_not_call"
    # Where nothing that is needed is there, there is nothing to call.
    assert case("t6_absent_api", partly)[0].reason == "did_not_decline"


@pytest.mark.parametrize(
    "more", [{"extra": "key"}, {"harbour": 3, "colour": 3}, {"harbour": "x" * 10_000, "colour": "x" * 10_000}]
)
def test_a_call_that_its_api_does_not_take(case, more):
    item, _ = case("t4_several_apis", calling("tide_table", "yarn_stock", **more))
    assert item.reason == "off_schema"


def test_a_request_that_says_what_it_was_to_leave_out(case):
    item, _ = case("t3_missing_parameter", everything, request={"request": "The harbour is Kiel and the colour red."})
    assert item.reason == "says_what_is_missing"


def test_a_word_that_has_the_name_in_it_says_nothing(case):
    visit = {**api("visit", "id"), "description": "Notes a visit."}
    turns = [json.dumps({**calling(), "calls": [{"name": "visit", "arguments": {"id": "7"}}]}), "Done."]
    request = {"request": "What did I do on my last visit?"}
    item, _ = case(
        "t3_missing_parameter", saying("ask", "Which id?"), apis=json.dumps([visit]), request=request, turn=turns
    )
    assert item.reason is None


def test_a_parameter_that_words_cannot_ask_for_is_not_left_unsaid(case):
    fly = {**api("fly", "to"), "parameters": [{"name": "to", "type": "string", "required": True}]}
    item, _ = case("t3_missing_parameter", everything, apis=json.dumps([fly]))
    assert item.reason == "no_required_parameter"


def test_a_request_that_its_schema_cut(case):
    item, _ = case("t1_all_given", everything, request={"request": "x" * 400})  # 0.8 x 2.5 x 200 tokens
    assert (item.reason, item.columns["instruction"]) == ("cut_by_schema", "x" * 400)
    item, _ = case("t3_missing_parameter", saying("ask", "Which harbour or colour? ".ljust(250, "x")))
    assert item.reason == "cut_by_schema"


@pytest.mark.parametrize("argument", ["x" * 2000, ["x" * 2000]], ids=["text", "list"])
def test_an_argument_that_its_schema_cut(case, argument):
    kind = {"type": "string"} if isinstance(argument, str) else {"type": "array", "items": {"type": "string"}}
    note = {**api("note"), "parameters": [{"name": "lines", **kind}]}
    call = {"action": "call", "text": "", "calls": [{"name": "note", "arguments": {"lines": argument}}]}
    assert case("t1_all_given", call, apis=json.dumps([note]))[0].reason == "cut_by_schema"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"x": NaN}', "unparsable"),
        ('{"x": 1e999}', "unparsable"),
        ('{"x": 1, "x": 2}', "unparsable"),
        ('{"x": ' + "[" * 5000 + "]" * 5000 + "}", "unparsable"),
        ('{"x": ' + "[" * 200 + "]" * 200 + "}", "off_schema"),
        ('{"x": {"\\ud800": "\\udfff"}}', None),
        ('{"x": {"y": [1, null]}}', None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_a_call_may_hold(case, arguments, reason):
    note = {**api("note"), "parameters": [{"name": "x", "type": "object"}]}
    said = f'{{"action": "call", "text": "", "calls": [{{"name": "note", "arguments": {arguments}}}]}}'
    item, llm = case("t1_all_given", said, apis=json.dumps([note]))
    assert item.reason == reason
    for prompt in llm.prompts:
        prompt.messages[-1][1].encode()  # can be sent


@pytest.mark.parametrize("name", ["t1_all_given", "t4_several_apis"])
def test_a_refined_request_has_the_plan_of_the_first(refined, name):
    first, second, _ = refined(name, calling("tide_table", "yarn_stock"), "Twice, please.")
    assert (first.reason, second.reason) == (None, None)
    assert second.columns["instruction"] == "Twice, please."
    assert second.columns["expected"] == first.columns["expected"]


def test_who_refines_sees_the_apis_that_are_needed_and_not_those_that_the_assistant_sees(refined):
    said = saying("decline", "I have no tide table and no yarn stock.")
    first, second, llm = refined("t6_absent_api", said, "Twice, please.")
    assert (first.reason, second.reason) == (None, None)
    for step in ("suggest", "edit_instruction"):
        [prompt] = [prompt for prompt in llm.prompts if prompt.template == step]
        assert [one["name"] for one in json.loads(prompt.fields["content"])] == needed(second)
    assert second.columns["content"] == first.columns["content"] != prompt.fields["content"]


@pytest.mark.parametrize(
    ("name", "edited", "reason"),
    [
        ("t3_missing_parameter", "For the harbour of Kiel and the colour red.", "says_what_is_missing"),
        ("t1_all_given", "x y".ljust(300, "z"), "cut_by_schema"),
    ],
)
def test_a_refined_request_is_held_to_the_same_rules(refined, name, edited, reason):
    _, second, _ = refined(name, saying("ask", "Which harbour or colour?"), edited, turn=["{}"])
    assert second.reason == reason
    assert json.loads(second.columns["expected"])["apis"]


@pytest.mark.parametrize("step", ["question", "tool_result", "turn"])
def test_a_dialogue_that_grows_too_long_costs_its_item_and_not_the_row(case, step):
    script = {"question": calling("tide_table", "yarn_stock"), step: too_long}
    item, _ = case("t4_several_apis", script.pop("question"), **script)
    assert item.reason == "prompt_too_long" and "9000 tokens" in item.detail
    assert roles(item) == ([] if step == "question" else ["user", "assistant"])  # what was sent


@pytest.mark.parametrize("step", ["follow_up", "turn"])
def test_a_question_that_there_is_no_room_to_answer(case, step):
    item, _ = case("t3_missing_parameter", saying("ask", "Which harbour or colour?"), **{step: too_long})
    assert item.reason == "prompt_too_long"


def test_a_request_that_there_is_no_room_to_ask_for(case):
    assert case("t1_all_given", everything, request=too_long)[0].reason == "prompt_too_long"


def test_results_that_came_are_on_record_where_another_has_no_room(case):
    results = iter([json.dumps({"result": "4 m"})])

    def one_only(prompt):
        return next(results, None) or too_long(prompt)

    item, llm = case("t4_several_apis", everything, tool_result=one_only)
    assert item.reason == "prompt_too_long" and llm.asked.count("tool_result") == 2
    assert len(item.on) == 2  # the request and a result


def test_results_are_on_record_as_they_were_sent(case):
    item, llm = case("t4_several_apis", everything, tool_result={"result": "4\u00a0m"})
    [sent] = [prompt.messages[-1] for prompt in llm.prompts if prompt.template == "turn"]
    assert sent[0] == "user"
    [told] = [turn["content"] for turn in json.loads(item.columns["messages"]) if turn["role"] == "tool"]
    assert told == sent[1] and [json.loads(line)["result"] for line in told.splitlines()] == ["4\u00a0m"] * 2


def test_a_result_that_its_schema_cut_ends_in_an_ellipsis(case):
    item, _ = case(
        "t4_several_apis", everything, tool_result={"result": "high water at noon " * 7 + "and low wate "[:17]}
    )
    assert item.reason is None
    item, _ = case("t4_several_apis", everything, tool_result={"result": ("high water at noon " * 10)[:150]})
    [told] = [turn["content"] for turn in json.loads(item.columns["messages"]) if turn["role"] == "tool"]
    assert json.loads(told.splitlines()[0])["result"].endswith(" high water at…")


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


@pytest.mark.parametrize("tries", [1, 3])
@pytest.mark.parametrize(("max_tokens", "names"), [(96, "ab"), (1024, "abcd")])
def test_a_list_has_twice_as_many_apis_as_an_answer_has_room_for(teach, skills, max_tokens, names, tries):
    left = iter("abcdef")

    def described(prompt):
        return {"apis": [api(next(left)) for _ in range(prompt.fields["count"])]}

    scale = {"rounds": 0, "tries": tries, "max_tokens": max_tokens}
    library = ["def a(b): ... # one", "def b(a): ... # two", "def other(): ..."]
    script = {"describe_apis": described, "sibling_apis": described, "request": too_long}
    [item], _ = cases(teach, skills, "t1_all_given", text="def a(b): # one two", scale=scale, library=library, **script)
    assert [one["name"] for one in json.loads(item.columns["content"])] == list(names)


def test_descriptions_that_their_schema_cut(teach):
    longest = 30  # 0.12 / 2 x 2.5 x 200 tokens
    cut = {**api("tides", "harbour"), "description": "gives the tides of a harbour and more"[:longest]}
    nameless = {**api("x" * 40), "description": "no"}
    script = {"describe_apis": {"apis": [cut, nameless]}, "sibling_apis": "no", "request": too_long}
    items, _ = teach("tool_use", text="def f(): ...", scale={"rounds": 0}, **script)
    assert {item.reason for item in items} <= {"prompt_too_long", "too_few_apis"}
    [seen] = {one["description"] for item in items for one in json.loads(item.columns["content"])}
    assert seen == "gives the tides of a harbour…"
    items, _ = teach(
        "tool_use", text="def f(): ...", scale={"rounds": 0}, **script | {"describe_apis": {"apis": [nameless]}}
    )
    assert [item.reason for item in items] == ["cut_by_schema"]
