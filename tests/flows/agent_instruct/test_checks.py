"""What a program says against instructions and reads out of responses."""

import pytest

from pipelines.flows.agent_instruct.checks import letter_of, wrong_with
from pipelines.flows.agent_instruct.drafts import Content, Draft
from pipelines.flows.agent_instruct.skill import Skill


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ('"A"', "A"),
        ("A. Because it says so.", "A"),
        ("(c) the third", "C"),
        ("B because the text says so", "B"),
        ("The answer is B.", "B"),
        ("The best option is B", "B"),
        ("Answer: option D", "D"),
        ("**A**: the first", "A"),
        ("A bridge is made of iron, so C.", None),
        ("a bridge", None),
        ("E", None),
        ("None of them", None),
        ("", None),
    ],
)
def test_the_letter_of_a_response(response: str, letter: str | None) -> None:
    assert letter_of(response, 4) == letter


@pytest.mark.parametrize(
    ("instruction", "ask", "reason"),
    [
        ("What is the main idea of the text?", "questions which of the options is the main idea of the text", None),
        (
            "Which of the options, if true, most weakens the conclusion of the text?",
            "questions which of the options, if true, most weakens the conclusion of the text",
            None,
        ),
        ("Say the text in other words.", "instructions to say the text in other words", None),
        ("Instructions to say the text in other words.", "instructions to say the text in other words", "copied"),
    ],
)
def test_the_words_of_a_type_are_no_copy(skills, instruction: str, ask: str, reason: str | None) -> None:
    wrong = wrong_with(Draft("a", Content("b", "c"), instruction), Skill.read(skills["reading_comprehension"]), ask)
    assert (wrong and wrong.reason) == reason


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Write a short story of a boat; the story should end at sea.", None),
        ("Classify the following text: 'Great!'", None),
        ("Write on a speech given in the town hall.", None),
        ("Summarise the passage in a line.", "not_self_contained"),
    ],
)
def test_what_points_at_a_text_elsewhere(skills, instruction: str, reason: str | None) -> None:
    wrong = wrong_with(
        Draft("a", Content("b", "c"), instruction), Skill.read(skills["creative_content"]), "requests for stories"
    )
    assert (wrong and wrong.reason) == reason
