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
        ("要求把文章改写成简单的语言。", "要求把文章改写成简单的语言", "copied"),
        ("要求写一封给远方女儿的信，说说海边的灯塔。", "要求把文章改写成简单的语言", None),
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
        ("Say whether the text is positive or negative: 'Great!'", None),
        ("Sum up the passage in a line:\nThe bridge was built in 1901.", None),
        ("Write on a speech given in the town hall.", None),
        ("Write an article on bees. The article should have a title.", None),
        ("写一篇关于灯塔的文章。这篇文章要有标题。", None),
        ("请判断以下文本的情感：“太好了！”", None),
        ("次の文章を要約してください：「橋は1901年に建てられた。」", None),
        ("灯塔为什么建在海边", None),
        ("Summarise the passage in a line.", "not_self_contained"),
        ("Which of these does the text name: iron or wood?", "not_self_contained"),
        ("Say who wrote an article that the text names.", "not_self_contained"),
        ("请根据the text回答", "not_self_contained"),
        ("根据文章，灯塔由谁看守？", "not_self_contained"),
        ("这段文字的主旨是什么？", "not_self_contained"),
        ("文中提到的老人是谁？", "not_self_contained"),
        ("この文章の主題は何ですか。", "not_self_contained"),
        ("本文によれば、灯台守は誰ですか。", "not_self_contained"),
    ],
)
def test_what_points_at_a_text_elsewhere(skills, instruction: str, reason: str | None) -> None:
    wrong = wrong_with(
        Draft("a", Content("b", "c"), instruction), Skill.read(skills["creative_content"]), "requests for stories"
    )
    assert (wrong and wrong.reason) == reason


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("Write.", "too_short"),
        ("____ ?", "too_short"),
        ("Why so?", None),
        ("灯塔为什么建在海边", None),
        ("なぜ灯台は海辺にあるのか", None),
        ("ประภาคารอยู่ที่ไหน", None),
        ("诗", "too_short"),
    ],
)
def test_an_instruction_of_one_word_is_none(skills, instruction: str, reason: str | None) -> None:
    wrong = wrong_with(Draft("a", Content("b", "c"), instruction), Skill.read(skills["coding"]), "requests for code")
    assert (wrong and wrong.reason) == reason
