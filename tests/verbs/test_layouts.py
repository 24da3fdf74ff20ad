"""The released layout of Persona Hub: which file a row goes to, and how it looks there."""

import json

import pytest

from pipelines.errors import UserError
from pipelines.verbs.layouts import persona_hub


def test_a_problem_with_its_solution_is_a_math_row():
    row = {"persona": "A baker", "text": "How many?", "solution": "Answer: 2", "answer": "2"}
    record = {"input persona": "A baker", "synthesized text": "How many?", "description": "math problem"}
    assert persona_hub(list(row))(row) == ("math", record)


def test_a_tool_is_json_inside_a_json_string():
    row = {"persona": "A baker", "task": "tool", "text": '{"name": "oven"}'}
    name, record = persona_hub(list(row))(row)
    assert name == "tool"
    assert json.loads(json.loads(record["synthesized text"])) == {"name": "oven"}


def test_personas_alone_go_to_a_file_of_their_own():
    assert persona_hub(["id", "persona"])({"id": "1", "persona": "A baker"}) == ("persona", {"persona": "A baker"})


def test_rows_without_personas_are_refused():
    with pytest.raises(UserError, match="takes rows with a column persona, and these have id, text"):
        persona_hub(["id", "text"])
