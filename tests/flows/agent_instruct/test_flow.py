"""From a seed to instructions with responses: what each step makes, rejects and leaves on record."""

import json
from collections import Counter

import pytest
from scipy.stats import chisquare

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.lesson import CHARS_PER_TOKEN
from pipelines.flows.agent_instruct.refine import sentences_of

ONLY_IDENTITY = {"transformers": {"identity": {"source": "published", "copy": True}}}


def kept(items):
    return [item for item in items if item.reason is None]


def reasons(items):
    return Counter(item.reason for item in items if item.reason)


def test_a_copy_costs_no_call_and_is_the_seed_to_the_byte(teach):
    text = "  Zwei\u00a0Zeilen,\r\n mit \ufeffallem.  "
    items, llm = teach(text=text, change=ONLY_IDENTITY)
    assert "transform" not in llm.asked
    assert {item.columns["content"] for item in items if item.columns["origin"] == "seed"} == {text}


def test_a_transformer_that_declines_makes_way_and_stays_on_record(teach):
    three = {name: {"source": "published", "ask": name} for name in ("poem", "debate", "satire")}
    answers = ["IRRELEVANT", "", "A poem."]
    items, llm = teach(transform=answers, change={"transformers": three, "router": {}}, scale={"rounds": 0})
    assert llm.asked.count("transform") == 3
    for item in items:
        assert item.columns["content"] == "A poem."
        assert sorted([*item.columns["declined"], item.columns["transformer"]]) == sorted(three)


def test_where_all_decline_the_seed_is_rejected_by_name_with_all_that_was_asked(teach):
    poem = {"transformers": {"poem": {"source": "published", "ask": "a poem"}}}
    items, _ = teach(transform="Irrelevant.", change=poem)
    assert [(item.reason, item.columns["skill"], len(item.on)) for item in items] == [
        ("declined", "reading_comprehension", 1)
    ]


def test_transformers_are_drawn_evenly_and_types_only_as_the_router_allows(teach, skills):
    skill = skills["reading_comprehension"]
    drawn = Counter()
    for seed in range(450):
        items, _ = teach(seed=str(seed), scale={"rounds": 0})
        drawn[items[0].columns["transformer"]] += 1
        for item in items:
            assert item.columns["type"] in skill["router"][item.columns["transformer"]]
    assert len(drawn) == 9
    assert chisquare(list(drawn.values())).pvalue > 0.01


def test_refinement_adds_and_records_suggestion_goal_and_parent(teach):
    items, llm = teach(change=ONLY_IDENTITY)
    origins = Counter(item.columns["origin"] for item in items)
    assert origins == {"seed": 2, "refined": 3}
    for item in items:
        if item.columns["origin"] == "refined":
            [parent] = item.after
            assert items[parent].columns["origin"] == "seed"
            assert item.columns["suggestion"] == "Take out who says so." and item.columns["round"] == 1
    # Every instruction is answered anew, a refined one too.
    assert llm.asked.count("question") == len(items)


def test_an_edit_of_the_text_replaces_the_sentence_that_it_numbers(teach):
    items, llm = teach(change=ONLY_IDENTITY, edit_content={"edits": [{"sentence": 2, "replacement": ""}]})
    edited = [item for item in items if item.columns["goal"] in ("unanswerable", "changed_answer")]
    assert {item.columns["content"] for item in edited} == {"The bridge was built in 1901. Ships pass below it."}
    # What answers is asked with the text as it was edited.
    questions = {prompt.messages[-1][1] for prompt in llm.prompts if prompt.template == "question"}
    assert any("made of iron" not in question for question in questions)


@pytest.mark.parametrize(
    ("script", "goal", "reason"),
    [
        ({"judge_unanswerable": {"answerable": True, "declines": True}}, "unanswerable", "answerable"),
        ({"judge_unanswerable": {"answerable": False, "declines": False}}, "unanswerable", "did_not_decline"),
        ({"judge_unanswerable": "I like it."}, "unanswerable", "no_verdict"),
        ({"judge_unanswerable": {"verdict": 1}}, "unanswerable", "no_verdict"),
        ({"edit_instruction": {"instruction": "Who thinks the bridge is old?", "answer": "x"}}, "harder", "unchanged"),
        ({"edit_content": {"edits": [{"sentence": 1, "replacement": "x", "more": 1}]}}, "unanswerable", "off_schema"),
        ({"suggest": '{"suggestions": ["cut~'}, "harder", "cut_by_max_tokens"),
        ({"suggest": "no"}, "harder", "unparsable"),
    ],
)
def test_what_a_refinement_is_rejected_for(teach, skills, script, goal, reason):
    open_only = {name: {**kind, "options": False} for name, kind in skills["reading_comprehension"]["types"].items()}
    items, _ = teach(change={**ONLY_IDENTITY, "types": open_only}, **script)
    [item] = [item for item in items if item.columns["goal"] == goal]
    assert item.reason == reason
    assert item.columns["suggestion"] or script.get("suggest")


def test_a_changed_answer_must_be_another_letter_where_there_are_options(teach, skills):
    options = {name: kind for name, kind in skills["reading_comprehension"]["types"].items() if kind.get("options")}
    change = {"transformers": ONLY_IDENTITY["transformers"], "types": options, "router": {}}
    items, llm = teach(change=change)
    assert [item.reason for item in items if item.columns["goal"] == "changed_answer"] == ["same_answer"]
    assert "judge_changed_answer" not in llm.asked


def test_what_was_made_unanswerable_is_held_to_declining_alone(teach, skills):
    main_idea = skills["reading_comprehension"]["types"]["main_idea"]
    unanswerable = {"unanswerable": skills["reading_comprehension"]["refiners"]["unanswerable"]}
    change = {"types": {"main_idea": main_idea}, "router": {}, "refiners": unanswerable}
    declines = "The text does not say."
    items, llm = teach(
        change=change, question=lambda prompt: declines if "Someone" in prompt.fields["content"] else "A."
    )
    assert [(item.columns["goal"], item.reason) for item in items] == [(None, None), ("unanswerable", None)]
    # ... and no second round makes it harder: nothing would judge what became of it.
    items, llm = teach(change=change, scale={"rounds": 3}, question=lambda prompt: declines)
    assert {tuple(item.after) for item in items if item.columns["origin"] == "refined"} == {(0,)}


def test_an_answer_is_compared_with_one_that_stood(teach, skills):
    options = {name: kind for name, kind in skills["reading_comprehension"]["types"].items() if kind.get("options")}
    change = {"transformers": ONLY_IDENTITY["transformers"], "types": options, "router": {}}
    items, _ = teach(change=change, vote=lambda prompt: "A" if "Someone" in prompt.fields["content"] else "B")
    [item] = [item for item in items if item.columns["goal"] == "changed_answer"]
    assert (item.reason, item.detail) == ("no_answer_before", "the parent's was rejected: no_agreement")


def too_long(prompt):
    raise PromptTooLong(9000, 8000)


@pytest.mark.parametrize(
    ("step", "too_long_for"),
    [
        ("suggest", {"unanswerable", "changed_answer", "harder"}),
        ("edit_content", {"unanswerable", "changed_answer"}),
        ("edit_instruction", {"harder"}),
        ("judge_unanswerable", {"unanswerable"}),
        ("judge_changed_answer", {"changed_answer"}),
    ],
)
def test_a_prompt_that_does_not_fit_costs_its_item_alone(teach, skills, step, too_long_for):
    open_only = {name: {**kind, "options": False} for name, kind in skills["reading_comprehension"]["types"].items()}
    items, _ = teach(change={**ONLY_IDENTITY, "types": open_only}, **{step: too_long})
    assert {item.columns["goal"] for item in items if item.reason == "prompt_too_long"} == too_long_for
    assert {item.columns["goal"] for item in kept(items)} == {
        None,
        "unanswerable",
        "changed_answer",
        "harder",
    } - too_long_for


def test_a_conversation_ends_where_it_no_longer_fits(teach):
    room = iter(["One.", "Two.", "Three."])
    items, _ = teach("conversation", scale={"rounds": 0, "turns": 5}, turn=lambda _: next(room, None) or too_long(_))
    assert [item.reason for item in items] == [None, None]
    assert sum(item.columns["turns"] for item in items) == 2 + 3


def test_a_text_that_its_schema_cut_is_no_instruction(teach):
    # 0.6 of 200 tokens of an answer.
    longest = {"instructions": [{"instruction": ("who " * 100)[: int(0.6 * 200 * CHARS_PER_TOKEN)], "answer": "Ann"}]}
    items, _ = teach("fermi", scale={"rounds": 0}, instruct=longest)
    assert {(item.reason, item.detail) for item in items} == {("cut_by_schema", ".instruction")}


def test_a_question_with_options_needs_a_letter_and_most_votes_for_it(teach, skills):
    change = {"types": {"main_idea": skills["reading_comprehension"]["types"]["main_idea"]}, "router": {}}
    scale = {"rounds": 0}
    items, _ = teach(change=change, scale=scale)
    assert [(item.reason, item.columns["votes"]) for item in items] == [(None, 3)]
    items, _ = teach(change=change, scale=scale, vote="B")
    assert [(item.reason, item.columns["votes"]) for item in items] == [("no_agreement", 0)]
    items, _ = teach(change=change, scale=scale, question="Iron, I think.")
    assert reasons(items) == {"no_letter": 1}
    items, _ = teach(change=change, scale=scale, question="B. Wood.", vote="B")
    assert [(item.reason, item.detail) for item in items] == [
        ("not_expected", "B, and the question was made with A in mind")
    ]


def test_the_users_turn_is_what_was_sent(teach):
    items, llm = teach(change=ONLY_IDENTITY, scale={"rounds": 0})
    for item in kept(items):
        turns = json.loads(item.columns["messages"])
        assert [turn["role"] for turn in turns] == ["user", "assistant"]
        assert turns[0]["content"] in [prompt.messages[-1][1] for prompt in llm.prompts]
        assert item.columns["content"] in turns[0]["content"] and turns[1]["content"] == item.columns["response"]


def test_an_item_rests_on_the_answers_of_every_step_before_it(teach):
    items, llm = teach(scale={"goals": 1}, seed="b")
    refined = next(item for item in items if item.columns["origin"] == "refined" and item.answer is not None)
    # transform, instruct, suggest, edit; the response is the item's own answer.
    assert len(refined.on) >= (4 if items[0].columns["transformer"] != "identity" else 3)


def test_a_skill_that_hides_its_text_asks_nothing_that_points_at_it(teach):
    pointing = {"instructions": [{"instruction": "According to the text, who built it?", "answer": "x"}]}
    items, llm = teach("fermi", instruct=pointing, scale={"rounds": 0})
    assert reasons(items) == {"not_self_contained": 2}
    items, llm = teach("fermi", scale={"rounds": 0})
    assert all("bridge was built" not in json.loads(item.columns["messages"])[0]["content"] for item in kept(items))


def test_a_conversation_has_as_many_user_turns_as_the_scale_says(teach):
    items, _ = teach("conversation", scale={"rounds": 0, "turns": 3})
    assert {item.columns["turns"] for item in kept(items)} == {3}
    roles = [turn["role"] for turn in json.loads(items[0].columns["messages"])]
    assert roles == ["user", "assistant"] * 3
    items, _ = teach("conversation", scale={"rounds": 0}, follow_up="")
    assert reasons(items) == {"empty_response": 2}


def test_follow_ups_make_a_conversation_of_any_skill(teach):
    items, _ = teach("fermi", scale={"rounds": 0, "follow_ups": 1})
    assert {item.columns["turns"] for item in kept(items)} == {2}
    copies = {"transformers": ONLY_IDENTITY["transformers"]}
    items, _ = teach("multiple_choice", scale={"rounds": 0, "follow_ups": 1}, change=copies)
    # The question, three votes, a turn of the user and the answer to it.
    assert {(item.columns["turns"], item.columns["votes"], len(item.on)) for item in kept(items)} == {(2, 3, 6)}


def test_a_response_must_keep_to_the_constraint_of_its_instruction(teach, skills):
    change = {"types": {"capitalisation": {"source": "published", "constraints": ["upper_case"], "ask": "requests"}}}
    items, _ = teach("text_modification", change=change, scale={"rounds": 0}, question="IT IS ANN.")
    assert [(item.reason, item.columns["constraint"]) for item in items] == [(None, '{"upper_case": ""}')]
    assert items[0].columns["instruction"].endswith("Write all of it in upper case.")
    items, _ = teach("text_modification", change=change, scale={"rounds": 0})
    assert [(item.reason, item.detail) for item in items] == [("constraint_broken", "upper_case")]


def test_a_refusal_is_no_response_unless_it_is_what_was_to_come(teach):
    items, _ = teach(change=ONLY_IDENTITY, question="I'm sorry, but I cannot help with that.")
    said = {item.columns["goal"]: item.reason for item in items}
    assert said.pop("unanswerable") is None
    assert said.pop(None) == "refused" and "refused" in said.values()


def test_a_type_that_the_text_does_not_suit_and_answers_that_are_none(teach):
    for script, reason in (
        ({"instructions": []}, "unsuited"),
        ("", "unparsable"),
        ({"instructions": [{"instruction": "x", "answer": "y"}]}, "too_short"),
        ("not json~", "cut_by_max_tokens"),
    ):
        items, _ = teach("fermi", instruct=script, scale={"rounds": 2})
        assert reasons(items) == {reason: 2}


def test_an_action_on_a_web_page_is_held_to_its_schema(teach):
    action = {"reason": "It is there.", "action": "click", "element": 3, "text": ""}
    items, _ = teach("web_agent", question=json.dumps(action), scale={"rounds": 0})
    assert {item.reason for item in items} == {None}
    items, _ = teach("web_agent", question=json.dumps({**action, "action": "fly"}), scale={"rounds": 0})
    assert reasons(items) == {"off_schema": 2}


@pytest.mark.parametrize("skill", ["data_to_text", "creative_content", "coding", "brain_teaser", "text_extraction"])
def test_skills_that_are_data_alone(teach, skill):
    items, _ = teach(skill)
    assert kept(items) and all(item.columns["skill"] == skill for item in items)


@pytest.mark.parametrize(
    "text",
    [
        "One. Two! Three?",
        "今天天气很好。我们去公园。",
        "e.g. v1.2\n\nAnd  so",
        " \n a",
        'He said "no." Then left.',
    ],
)
def test_sentences_are_the_text(text):
    assert "".join(sentences_of(text)) == text


def test_a_question_is_the_instruction_with_its_options_and_without_the_text(teach):
    items, _ = teach(change=ONLY_IDENTITY)
    for item in items:
        columns = item.columns
        assert columns["question"] == "\n".join([columns["instruction"], *columns["options"]])
    assert any(item.columns["options"] for item in items)


def test_items_on_one_text_share_a_passage_and_those_that_stand_alone_have_none(teach):
    shown, _ = teach(change=ONLY_IDENTITY, scale={"rounds": 0})
    assert len({item.columns["passage"] for item in shown}) == 1
    alone, _ = teach("fermi", scale={"rounds": 0})
    assert {item.columns["passage"] for item in alone} == {None}
