"""What a persona would ask, write, need or be: prompts of three kinds, and what is read from answers."""

import asyncio
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.face.groups import conf_dir
from pipelines.flows.persona_synthesis import TOOL_KEYS, demonstrated, demonstrations, read_tool, synthesize, unlabelled
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))
PROMPTS = PromptSet(**yaml.safe_load((conf_dir() / "prompt" / "persona_synthesis.yaml").read_text()))
TASKS = list(PROMPTS.tables["tasks"])
TOOL = {key: f"some {key}" for key in TOOL_KEYS}


class Scripted:
    """Answers in turn, and keeps what it was asked."""

    draw = 0

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.schemas = []

    async def chat(self, prompt, *, schema=None):
        self.asked.append(prompt.messages)
        self.schemas.append(schema)
        text = self.answers.pop(0)
        return Answer(text.rstrip("~"), "length" if text.endswith("~") else "stop", 1, 1)


def made(*answers, task="math", mode="zero_shot", shown=(), **more):
    llm = Scripted(*answers)
    knobs = {"variant": "plain", "topic": None, "difficulty": None, "language": None, "code": False, "turns": 0, **more}
    row = {"id": "a", "persona": "A baker"}
    flow = synthesize(row, llm, PROMPTS, text_column="persona", task=task, mode=mode, demonstrations=shown, **knobs)
    [item] = asyncio.run(flow)
    return item, llm


def prompt(**more):
    _, llm = made(json.dumps(TOOL) if more.get("task") == "tool" else "Math problem: x y z", **more)
    return llm.asked[0][-1][1]


SHOWN = [{"text": "How far is the boat?", "persona": "A ferryman"}]


@pytest.mark.parametrize("task", TASKS)
def test_the_three_modes_are_structurally_different_prompts(task):
    zero, few, enhanced = (
        prompt(task=task, mode=mode, shown=() if mode == "zero_shot" else SHOWN)
        for mode in ("zero_shot", "few_shot", "persona_few_shot")
    )
    assert "How far" not in zero and "How far" in few and "How far" in enhanced
    assert "A ferryman" not in few and "A ferryman" in enhanced
    assert all("A baker" in one for one in (zero, few, enhanced))
    # What all rows share comes first: an engine reads it once.
    assert few.index("How far") < few.index("A baker")


def test_a_demonstration_given_back_is_no_text_of_the_persona():
    shown = [{"text": "Two ferries leave opposite banks of a river at the same time and meet twice", "persona": None}]
    given_back = "Math problem: Two ferries leave opposite banks of a lake at the same time and meet twice."
    item, _ = made(given_back, mode="few_shot", shown=shown)
    assert (item.reason, item.detail) == ("copied", "demonstration 1")
    assert made(given_back)[0].reason is None  # it was not shown
    asked = PROMPTS.tables["tasks"]["math"]["ask"]
    assert (made(asked)[0].reason, made(asked)[0].detail) == ("copied", "what was asked")


def test_modifiers_stand_in_the_prompt_without_losing_the_persona():
    plain = prompt()
    changed = prompt(topic="bees", difficulty="Olympiad level", language="German")
    assert all(word in changed and word not in plain for word in ("bees", "Olympiad level", "German"))
    assert "A baker" in changed


def test_reasoning_has_variants_and_other_tasks_have_none():
    spatial, trick = (prompt(task="reasoning", variant=variant) for variant in ("spatial", "trick"))
    assert "routes" in spatial and "trick question" in trick
    assert prompt(task="math", variant="trick") == prompt(task="math")


@pytest.mark.parametrize(
    ("answer", "text", "labelled"),
    [
        ("Math problem: How many?", "How many?", True),
        ("**Math problem:** How many?", "How many?", True),
        ("math problem : How many?", "How many?", True),
        ("How many?", "How many?", False),
    ],
)
def test_the_label_is_taken_off_or_missed_and_either_is_recorded(answer, text, labelled):
    item, _ = made(answer)
    assert (item.columns["text"], item.columns["labelled"]) == (text, labelled)
    assert unlabelled(answer, "Math problem") == (text, labelled)


def test_an_answer_of_nothing_but_the_label_is_rejected():
    assert made("Math problem:")[0].reason == "unparsable"


def test_a_tool_is_an_object_of_six_keys_asked_for_by_schema():
    item, llm = made(json.dumps(TOOL), task="tool")
    assert json.loads(item.columns["text"]) == TOOL
    assert list(llm.schemas[0]["properties"]) == list(TOOL_KEYS)
    assert made("no json", task="tool")[0].reason == "unparsable"
    lacking, _ = made(json.dumps({"name": "x", "depend": "y"}), task="tool")
    assert (lacking.reason, lacking.detail) == ("missing_keys", "description, function_name, input_args, return")
    for wrong, where in (({"name": 3}, "$.name"), ({"depend": ""}, "$.depend"), ({"more": "x"}, "$")):
        off, _ = made(json.dumps(TOOL | wrong), task="tool")
        assert (off.reason, off.detail.partition(":")[0]) == ("off_schema", where)


def test_code_comes_in_a_second_call_and_is_kept_as_text():
    item, llm = made(json.dumps(TOOL), "```python\ndef f():\n    return 1\n```", task="tool", code=True)
    assert item.columns["code"] == "def f():\n    return 1"
    assert "some function_name" in llm.asked[1][-1][1]
    assert made(json.dumps(TOOL), "def f(): ~", task="tool", code=True)[0].reason == "cut_by_max_tokens"
    assert [answer.text[:9] for answer in item.on] == ["```python"], "an item names each answer that it rests on"


def test_an_instruction_may_open_a_conversation():
    item, llm = made(
        "User prompt: Plan my week.", "Here it is.", "And the weekend?", "Rest.", task="instruction", turns=2
    )
    assert json.loads(item.columns["messages"]) == [
        {"role": "user", "content": "Plan my week."},
        {"role": "assistant", "content": "Here it is."},
        {"role": "user", "content": "And the weekend?"},
        {"role": "assistant", "content": "Rest."},
    ]
    # The assistant sees the conversation and not the persona; whoever plays the persona sees both.
    assert [role for role, _ in llm.asked[3]] == ["user", "assistant", "user"]
    assert "baker" not in str(llm.asked[3]) and "baker" in str(llm.asked[2])
    assert made("User prompt: Plan.", "cut ~", task="instruction", turns=1)[0].reason == "cut_by_max_tokens"


def test_a_demonstration_without_a_persona_gets_one_or_is_not_shown():
    given = demonstrations(task="math", given=[{"text": "a"}, {"text": "b", "persona": "A nurse"}], table={})
    assert given == [{"text": "a", "persona": None}, {"text": "b", "persona": "A nurse"}]
    llm = Scripted("A smith")
    [inferred] = asyncio.run(demonstrated(given[0], llm, PROMPTS))
    [known] = asyncio.run(demonstrated(given[1], llm, PROMPTS))
    assert (inferred.columns["persona"], known.columns["persona"], len(llm.asked)) == ("A smith", "A nurse", 1)
    [refused] = asyncio.run(demonstrated(given[0], Scripted("  "), PROMPTS))
    assert refused.reason == "unparsable"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_demonstrations_of_its_own(task):
    shown = demonstrations(task=task, given=None, table=PROMPTS.tables["demonstrations"])
    assert len(shown) >= 2
    if task == "tool":
        assert all(list(read_tool(one["text"])) == list(TOOL_KEYS) for one in shown)


@pytest.mark.skipif(not (DATA / "personas_tool_synth.parquet").exists(), reason=f"no released tools in {DATA}")
def test_the_released_tools_are_read_as_they_are():
    texts = pq.read_table(DATA / "personas_tool_synth.parquet")["synthesized_text"].to_pylist()
    read = [read_tool(text) for text in texts]
    six = [one for one in read if one is not None and set(TOOL_KEYS) <= set(one)]
    assert len(texts) == 5000
    assert sum(one is None for one in read) == 11
    assert len([one for one in six if set(one) == set(TOOL_KEYS)]) == 4978
    assert len([one for one in six if list(one) == list(TOOL_KEYS)]) == 4977
