"""Queries are read from the first line, labels and quotes off; their score is that of their own tokens."""

import asyncio

import pytest
import yaml

from pipelines.errors import PromptTooLong
from pipelines.face.groups import conf_dir
from pipelines.flows.queries import _after, inpars, mean_logprob, promptagator, shown
from pipelines.prompts import PromptSet
from pipelines.rows import Answer


def prompts(name):
    return PromptSet(**yaml.safe_load((conf_dir() / "prompt" / f"{name}.yaml").read_text()))


def length(prompt):
    return sum(len(text) for _, text in prompt.messages)


class Scripted:
    """Gives the texts it was made with (``~`` at the end: cut); refuses prompts of more than ``fits`` characters."""

    def __init__(self, *texts, fits=100_000):
        self.texts, self.fits, self.asked, self.stops = texts, fits, [], []

    async def sample(self, prompt, n, *, stop):
        self.stops.append(stop)
        if length(prompt) > self.fits and prompt.trim is None:
            raise PromptTooLong(length(prompt), self.fits)
        self.asked.append(prompt)
        assert n == len(self.texts)
        return [Answer(text.rstrip("~"), "length" if text.endswith("~") else "stop", 1, 1) for text in self.texts]

    async def chat(self, prompt, *, stop):
        [answer] = await self.sample(prompt, 1, stop=stop)
        return answer


ROW = {"id": "d2", "title": "Weather", "text": "Barometers measure the weight of the air."}


def asked(text, wording="vanilla"):
    llm = Scripted(text)
    [item] = asyncio.run(inpars(ROW, llm, prompts("inpars"), text_column="text", wording=wording, document_words=100))
    return item, llm


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        (" what does a barometer measure", "what does a barometer measure"),
        ("Relevant query: weight of air\nExample 5:", "weight of air"),
        ('"weight of air"', "weight of air"),
        ("**Relevant Query:** weight of air", "weight of air"),
        ("what is *the* weight", "what is *the* weight"),
    ],
)
def test_the_first_line_is_the_query(answer, query):
    item, llm = asked(answer)
    assert (item.reason, item.columns["query"], item.columns["doc_id"]) == (None, query, "d2")
    assert item.columns["document"] == "Weather Barometers measure the weight of the air."
    assert llm.stops == [["\n"]]


def test_what_all_prompts_share_comes_first():
    _, llm = asked("x")
    *before, (_, text) = llm.asked[0].messages
    assert text.endswith("Document: Weather Barometers measure the weight of the air.")
    # Three documents, each with what is to be answered to it.
    assert [role for role, _ in before] == ["user", "assistant"] * 3 and llm.asked[0].trim == "text"
    assert before[1] == ("assistant", "rim brakes in rain")
    _, llm = asked("x", "guided")
    assert llm.asked[0].messages[1][1].startswith("Good question: Why")
    assert llm.asked[0].messages[1][1].endswith("Bad question: rim brakes in rain")


def test_a_guided_answer_may_go_on_with_the_bad_question():
    item, llm = asked("What weighs the air?\nBad question: barometer", "guided")
    assert (item.columns["query"], item.columns["bad_question"]) == ("What weighs the air?", "barometer")
    assert llm.stops == [["\n\n"]]
    # The good question is whole, whatever was cut behind it.
    item, _ = asked("What weighs the air?\nBad question: baro~", "guided")
    assert item.reason is None and not item.answer.cut
    item, _ = asked("What weighs the~", "guided")
    assert item.answer.cut, "and is rejected as such by the stage"


@pytest.mark.parametrize("answer", ["", "  \n", "Relevant query:"])
def test_an_answer_without_a_query_is_rejected(answer):
    item, _ = asked(answer)
    assert item.reason == "no_query"


EXAMPLES = [
    {"query_id": f"q{n}", "doc_id": f"e{n}", "query": f"claim {n}", "document": "words " * 20} for n in range(4)
]


def drawn(*texts, template="scifact", examples=EXAMPLES, **more):
    llm = Scripted(*texts, **more)
    knobs = {"text_column": "text", "template": template, "samples": len(texts), "document_words": 100}
    items = asyncio.run(promptagator(ROW, llm, prompts("promptagator"), **knobs, examples=examples))
    return items, llm


def test_an_answer_that_does_not_begin_as_its_kind_does_is_a_failure():
    items, _ = drawn("Finding: air has weight", "air has weight", "finding: Air has weight", "Finding: mercury rises")
    assert [item.reason for item in items] == [None, "no_label", "repeated", None]
    assert [item.columns["query"] for item in items][::3] == ["air has weight", "mercury rises"]
    assert [item.columns["sample"] for item in items] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("Findings: lutes", "lutes"),
        (" **finding**: lutes", None),
        ("**Findings:** lutes", "lutes"),
        ("# findings : lutes", "lutes"),
        ("Findings show that lutes", None),
        ("Findingss: lutes", None),
        ("lutes", None),
    ],
)
def test_a_label_ends_with_its_colon(line, after):
    """Or a query that begins with the same word would lose it."""
    assert _after(line, "findings") == after


def test_a_kind_without_a_label_has_no_failures():
    items, llm = drawn("where to buy a barometer", template="fiqa")
    assert items[0].reason is None
    assert "begins with" not in llm.asked[0].messages[-1][1]


@pytest.mark.parametrize("count", range(5))
def test_as_many_examples_are_shown_as_fit(count):
    whole = drawn("Finding: x", examples=EXAMPLES[:count])[1].asked[0]
    items, llm = drawn("Finding: x", fits=length(whole))
    assert items[0].columns["examples"] == [f"q{n} e{n}" for n in range(count)]
    assert llm.asked[0].messages == whole.messages
    assert llm.asked[0].trim == (None if count else "text"), "the document alone may be cut"


@pytest.mark.parametrize("kind", [k for k in prompts("promptagator").tables["kinds"]])
def test_every_kind_shows_its_examples_as_it_asks(kind):
    labels = prompts("promptagator").tables["kinds"][kind]
    label = f"{labels['query']}: " if labels["query"] else ""
    items, llm = drawn(f"{label}claim", template=kind, examples=EXAMPLES[:2])
    assert items[0].reason is None and items[0].columns["query"] == "claim"
    *before, (_, text) = llm.asked[0].messages
    assert [said for role, said in before if role == "assistant"] == [f"{label}claim 0", f"{label}claim 1"]
    assert text.endswith("Barometers measure the weight of the air.")


def test_without_examples_the_document_is_followed_by_a_request():
    items, llm = drawn("what measures air", template="zero_shot", examples=[])
    assert items[0].columns["query"] == "what measures air" and items[0].columns["examples"] == []
    assert llm.asked[0].messages[-1][1].startswith("Weather Barometers measure")


def test_a_document_shows_its_first_words():
    assert shown(ROW, "text", 3) == "Weather Barometers measure"
    assert shown({"text": "Maps", "title": None}, "text", 3) == "Maps"


def scored(pieces, query, finish="stop"):
    answer = Answer("".join(pieces), finish, 1, len(pieces), logprobs=tuple(-float(n) for n in range(len(pieces))))
    return mean_logprob(Answer(**{**{k: getattr(answer, k) for k in Answer.__slots__}, "pieces": tuple(pieces)}), query)


@pytest.mark.parametrize(
    ("pieces", "query", "finish", "mean", "tokens"),
    [
        ((" air", " weight", "\n"), "air weight", "stop", -0.5, 2),
        (("Finding", ":", " air", " weight", ".\n"), "air weight.", "stop", -3.0, 3),
        ((" air", " weight"), "air weight", "length", -0.5, 2),
        (("\ufffd", "\ufffd", " x", ""), "é x", "stop", -1.0, 3),
        (("\ufffd", "\ufffd", " x"), "é x", "length", -1.0, 3),
    ],
)
def test_the_score_is_of_the_querys_own_tokens(pieces, query, finish, mean, tokens):
    assert scored(pieces, query, finish) == (pytest.approx(mean), tokens)


def test_without_log_probabilities_there_is_no_score():
    assert mean_logprob(Answer("air weight", "stop", 1, 2), "air weight") == (None, 2)
