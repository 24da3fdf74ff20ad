"""A skill as data: which templates it asks by, how many options a question has, what stands where in prompts."""

import json

import pytest

from pipelines.flows.agent_instruct.checks import letter_of
from pipelines.flows.agent_instruct.skill import OPTIONS, Agent, Skill

from .conftest import PROMPTS, SHARED, SKILLS, TEXT
from .test_scale import lavish

OWN_STEPS = {"describe_apis", "sibling_apis", "request", "tool_result"}


@pytest.mark.parametrize("name", SKILLS)
def test_the_templates_that_a_skill_may_word_anew_are_those_it_asks_by(name):
    asked = {one for llm, _ in lavish(name, "paper") for one in llm.asked} - {"vote", "turn"}
    legal = set(Skill.read(SKILLS[name]).asks_by())
    # Any skill may be given follow-ups; not every script comes to every judge.
    assert asked <= legal <= asked | {"follow_up", "judge_changed_answer"}


def test_templates_are_all_of_use():
    of_others = {"turn", "judge"}
    assert {one for plain in SKILLS.values() for one in Skill.read(plain).asks_by()} | of_others == set(
        SHARED["templates"]
    )
    assert not OWN_STEPS & set(Skill.read(SKILLS["coding"]).asks_by())


@pytest.mark.parametrize(("options", "count"), [(True, OPTIONS), (2, 2), (8, 8), (False, 0)])
def test_a_type_says_how_many_options_its_questions_have(teach, options, count):
    agent = Agent.read("a", {"source": "ours", "ask": "questions on boats", "options": options})
    assert agent.options == count and isinstance(agent.options, int) and not isinstance(agent.options, bool)
    change = {
        "transformers": {"identity": {"source": "ours", "copy": True}},
        "types": {"a": {"source": "ours", "ask": "questions on boats", "options": options}},
        "router": {},
        "refiners": {"harder": {"source": "ours", "ask": "ways to make it harder"}},
    }
    harder = {"instruction": "Who said so?", "answer": "A"} | ({"options": [*"abcdefgh"[:count]]} if count else {})
    items, llm = teach(change=change, scale={"types": 1}, edit_instruction=harder)
    assert [(item.reason, len(item.columns["options"])) for item in items] == [(None, count)] * 2
    [asked] = [prompt.messages[-1][1] for prompt in llm.prompts if prompt.template == "instruct"]
    assert {0: "its answer in a few words", 2: "two options", 4: "four options", 8: "eight options"}[count] in asked
    assert {0: "Give one", 2: "(A or B)", 4: "(A, B, C or D)", 8: "F, G or H)"}[count] in asked


def test_letters_go_as_far_as_there_are_options():
    for count in range(2, 9):
        for place in range(8):
            said = f"{'ABCDEFGH'[place]}. So it is"
            assert (letter_of(said, count) is not None) == (place < count)
            assert (letter_of(said.split(".")[0] + " because it is", count) is not None) == (0 < place < count)


def test_critical_comprehension_has_one_true_and_one_false_statement():
    assert Skill.read(SKILLS["reading_comprehension"]).types["critical_comprehension"].options == 2


#: What stands in the place of fields that are no text.
FIELDS = {"options": ("iron", "wood"), "count": 2, "constraint": "", "unsaid": None, "call": {}}
#: Prompts that show no text of the seed's, or it in another form.
OTHERWISE = {"edit_content", "follow_up", "turn", "judge", "judge_changed_answer", *OWN_STEPS}


@pytest.mark.parametrize("name", [name for name in SHARED["templates"] if name not in OTHERWISE])
def test_prompts_on_a_text_begin_with_it_in_the_same_words(name):
    fields = {field: FIELDS.get(field, "said") for field in PROMPTS.names_in(name)} | {"content": TEXT}
    fields |= {"options": 4} if name == "instruct" else {}
    said = PROMPTS.render(name, **fields).messages[-1][1]
    assert said.startswith(f'Text:\n"""\n{TEXT}\n"""\n\n')


def test_where_a_router_names_types_each_is_of_use_and_each_transformer_has_some():
    for plain in SKILLS.values():
        skill = Skill.read(plain)
        reached = {kind.name for transformer in skill.transformers for kind in skill.types_for(transformer)}
        assert reached == set(skill.types), skill.name
        assert json.dumps(plain)
    page = Skill.read(SKILLS["web_agent"])
    assert "fill_in" not in [kind.name for kind in page.types_for("article_page")]
    assert "explain" not in [kind.name for kind in Skill.read(SKILLS["coding"]).types_for("specification")]
