"""A flow over a shard: every row and every item ends in the accounts, whatever the flow does."""

import asyncio
import json
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.engine.llm import Request, Sampling
from pipelines.errors import CallFailed, EngineDead
from pipelines.prompts import PromptSet
from pipelines.rows import Answer, keep, reject
from pipelines.stages.account import check_columns
from pipelines.stages.flow import FlowWork
from pipelines.store.commit import commit, read_side
from pipelines.store.dataset import Shard
from pipelines.store.files import folder

PROMPTS = PromptSet("test", {"ask": "Say {{ text }}"})


class Scripted:
    """An engine that answers from a function of the request; the stand-in for a flow's logic only."""

    def __init__(self, answer=lambda request: request.prompt.fields["text"].upper()):
        self.answer = answer
        self.requests: list[Request] = []
        self.dead = False

    def alive(self):
        return not self.dead

    async def generate(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        text = self.answer(request)
        reason = "length" if text.endswith("...") else "stop"
        return [
            Answer(text, reason, 3, 2, request.seed, i, prompt_id=request.prompt.prompt_id, cached_tokens=1)
            for i in range(request.n)
        ]


async def echo(row, llm, prompts):
    answer = await llm.chat(prompts.render("ask", text=row["text"]))
    return [keep(answer, said=answer.text)]


def run(flow, texts, engine=None, columns=None, draws=1):
    work = FlowWork(
        stage="say",
        fingerprint="f" * 32,
        recipe="test",
        flow=flow,
        prompts=PROMPTS,
        columns=columns or {"said": "string"},
        engine=engine or Scripted(),
        engine_kind="scripted",
        model="none",
        revision=None,
        sampling=Sampling(),
        seed=7,
        overlong="fail",
        keep_calls=True,
        rows_in_flight=asyncio.Semaphore(64),
        draws=draws,
    )
    table = pa.table({"id": [f"row{i}" for i in range(len(texts))], "text": texts})
    return asyncio.run(work.run(Shard(0, ((0, 0, len(texts)),), len(texts)), table))


def test_a_kept_item_knows_its_parent_and_how_it_was_made():
    outcome = run(echo, ["a", "b"])
    [first, second] = outcome.kept.to_pylist()
    assert (first["said"], first["parent_ids"], second["parent_ids"]) == ("A", ["row0"], ["row1"])
    assert first["id"] != second["id"]
    assert first["provenance"]["prompt_id"] == "test/ask"
    assert first["provenance"]["finish_reason"] == "stop"
    assert (outcome.entry.rows_in, outcome.entry.rows_kept, outcome.entry.prompt_tokens) == (2, 2, 6)
    assert (outcome.entry.cached_tokens, outcome.entry.completion_tokens) == (2, 4)
    assert outcome.entry.balanced() is None


def test_ids_and_seeds_depend_on_the_row_alone():
    together, alone = Scripted(), Scripted()
    ids = dict(zip(["x", "y"], run(echo, ["x", "y"], together).kept["id"].to_pylist(), strict=True))
    assert run(echo, ["x"], alone).kept["id"].to_pylist() == [ids["x"]]
    assert alone.requests[0].seed == next(r.seed for r in together.requests if r.prompt.fields["text"] == "x")
    assert len({r.seed for r in together.requests}) == 2


def test_one_row_may_give_several_items_kept_and_rejected():
    async def split(row, llm, prompts):
        return [keep(said="yes"), reject("too_short", said="n"), reject("too_short", detail="really")]

    outcome = run(split, ["a", "b"])
    assert outcome.entry.items_rejected == {"too_short": 4}
    assert (outcome.entry.rows_kept, outcome.entry.rows_rejected, outcome.entry.items_made) == (2, 0, 6)


def test_a_row_whose_items_are_all_rejected_or_that_has_none_is_rejected():
    async def nothing(row, llm, prompts):
        return [] if row["text"] == "a" else [reject("bad")]

    entry = run(nothing, ["a", "b"]).entry
    assert (entry.rows_rejected, entry.items_rejected) == (2, {"no_items": 1, "bad": 1})


def test_a_sample_that_breaks_costs_its_row_none_of_the_others():
    seen = {"a": 0, "b": 0}

    def answer(request):
        text = request.prompt.fields["text"]
        seen[text] += 1
        if text == "b" or seen[text] == 2:
            raise CallFailed("no answer came")
        return text.upper()

    outcome = run(echo, ["a", "b"], Scripted(answer), draws=3)
    entry = outcome.entry
    assert (entry.rows_kept, entry.rows_failed, entry.items_made) == (1, 1, 3)
    assert (entry.items_rejected, entry.failed) == ({"call_failed": 1}, {"call_failed": 1})
    assert outcome.sides["rejected"]["detail"].to_pylist() == ["no answer came"]
    assert outcome.kept["said"].to_pylist() == ["A", "A"]
    assert entry.balanced() is None


def test_an_answer_cut_by_max_tokens_is_never_kept():
    outcome = run(echo, ["a", "b..."])
    assert outcome.entry.items_rejected == {"cut_by_max_tokens": 1}
    assert outcome.sides["rejected"]["said"].to_pylist() == ["B..."]


def test_a_flow_that_raises_is_a_failed_row_with_the_exact_request(tmp_path):
    async def breaks(row, llm, prompts):
        await llm.chat(prompts.render("ask", text=row["text"]))
        if row["text"] == "b":
            raise ZeroDivisionError("by zero")
        return [keep(said=row["text"])]

    outcome = run(breaks, ["a", "b"])
    [failed] = outcome.sides["failed"].to_pylist()
    assert (failed["row_id"], failed["stage"], failed["error"]) == ("row1", "say", "ZeroDivisionError")
    assert "test_flow.py" in failed["message"]
    assert json.loads(failed["request"])["messages"] == [{"role": "user", "content": "Say b"}]
    entry = commit(folder(str(tmp_path)), outcome)
    assert read_side(folder(str(tmp_path)), entry, "failed").num_rows == 1


def test_a_broken_call_is_counted_by_its_kind():
    def refuse(request):
        raise CallFailed("HTTP 500 after 6 tries")

    entry = run(echo, ["a", "b"], Scripted(refuse)).entry
    assert (entry.rows_failed, entry.failed) == (2, {"call_failed": 2})


def test_an_engines_death_is_not_a_rows_failure():
    def die(request):
        raise EngineDead("gone")

    with pytest.raises(ExceptionGroup) as caught:
        run(echo, ["a", "b"], Scripted(die))
    assert caught.group_contains(EngineDead)


def test_nor_when_the_flow_catches_it_or_wraps_it():
    engine = Scripted()

    def die(request):
        engine.dead = True
        raise EngineDead("gone")

    engine.answer = die

    async def careful(row, llm, prompts):
        try:
            await llm.chat(prompts.render("ask", text=row["text"]))
        except Exception as error:
            raise ValueError("the model did not answer") from error

    with pytest.raises(ExceptionGroup) as caught:
        run(careful, ["a"], engine)
    assert caught.group_contains(EngineDead)


def test_items_must_fit_the_declared_columns_or_their_row_fails():
    async def sloppy(row, llm, prompts):
        return [keep(said={"a": 1, "b": "fine"}.get(row["text"], "x"))] if row["text"] != "c" else [keep(other="x")]

    outcome = run(sloppy, ["a", "b", "c"])
    assert outcome.kept["said"].to_pylist() == ["fine"]
    messages = outcome.sides["failed"]["message"].to_pylist()
    assert "declared string, the flow gave 1" in messages[0]
    assert "undeclared columns ['other'] and lacks ['said']" in messages[1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("list[string]", [1, "a"]),
        ("list[string]", "a"),
        ("list[float]", [0.5, "a"]),
        ("int", 2**63),
        ("int", True),
        ("int", 1.0),
        ("float", 10**400),
        ("float", "1"),
        ("bool", 1),
    ],
)
def test_a_value_that_no_file_could_hold_fails_its_row_and_not_its_shard(kind, value):
    async def sloppy(row, llm, prompts):
        return [keep(said=value if row["text"] == "a" else None)]

    outcome = run(sloppy, ["a", "b"], columns={"said": kind})
    assert (outcome.entry.rows_kept, outcome.entry.failed) == (1, {"TypeError": 1})


@pytest.mark.parametrize(
    ("kind", "value"), [("float", 1), ("float", float("inf")), ("list[float]", [1, 2.5]), ("int", -1)]
)
def test_numbers_are_stored_as_declared(kind, value):
    async def counts(row, llm, prompts):
        return [keep(said=value)]

    assert run(counts, ["a"], columns={"said": kind}).kept["said"].to_pylist() == [value]


def test_text_that_utf8_cannot_hold_is_mended_and_kept():
    half = json.loads('"\\ud83d and \\u00e9"')

    async def surrogate(row, llm, prompts):
        answer = await llm.chat(prompts.render("ask", text=half))
        if row["text"] == "breaks":
            raise ValueError(half)
        return [keep(answer, said=half), reject("odd", answer, detail=half)]

    outcome = run(surrogate, ["a", "breaks"], Scripted(lambda request: half))
    mended = "? and é"
    assert outcome.kept["said"].to_pylist() == [mended]
    assert outcome.sides["rejected"]["detail"].to_pylist() == [mended]
    assert outcome.sides["calls"]["answers"].to_pylist() == [[mended], [mended]]
    assert outcome.sides["failed"]["message"].to_pylist()[0].startswith(mended)


def test_a_column_named_as_the_verdict_is_hides_neither():
    async def judged(row, llm, prompts):
        return [keep(reason="sound", said="x"), reject("no", reason="weak", said="y", detail="z")]

    outcome = run(judged, ["a"], columns={"reason": "string", "said": "string"})
    assert outcome.kept["reason"].to_pylist() == ["sound"]
    [turned_away] = outcome.sides["rejected"].to_pylist()
    assert (turned_away["reason"], turned_away["input_reason"], turned_away["detail"]) == ("no", "weak", "z")


def test_seeds_do_not_depend_on_which_answer_comes_first():
    def seeds_of(slow):
        engine = Scripted()
        waits = asyncio.Event

        async def branches(row, llm, prompts):
            first_done = waits()

            async def branch(name):
                await llm.chat(prompts.render("ask", text=name))
                if name == slow:
                    await first_done.wait()
                await llm.chat(prompts.render("ask", text=f"{name} more"))
                first_done.set()

            await asyncio.gather(branch("a"), branch("b"))
            await llm.chat(prompts.render("ask", text="a"))
            return [keep(said="x")]

        run(branches, ["t"], engine)
        return {(r.prompt.fields["text"], r.seed) for r in engine.requests}

    assert seeds_of("a") == seeds_of("b")
    assert len({seed for _, seed in seeds_of("a")}) == 5


def test_quarantine_holds_the_call_that_broke():
    def answer(request):
        if request.prompt.fields["text"] == "breaks":
            raise CallFailed("HTTP 500")
        return "fine"

    async def both(row, llm, prompts):
        asked = [llm.chat(prompts.render("ask", text=text)) for text in ("breaks", "works")]
        await asyncio.gather(*asked)

    [failed] = run(both, ["a"], Scripted(answer)).sides["failed"].to_pylist()
    assert json.loads(failed["request"])["messages"][0]["content"] == "Say breaks"


def test_a_row_that_breaks_leaves_no_call_behind():
    class Slow(Scripted):
        async def generate(self, request):
            if request.prompt.fields["text"] == "breaks":
                raise CallFailed("HTTP 500")
            try:
                await asyncio.Event().wait()  # for ever
            except asyncio.CancelledError:
                ended.append(request.prompt.fields["text"])
                raise

    ended = []

    async def several(row, llm, prompts):
        async def then_another(text):
            try:
                await llm.chat(prompts.render("ask", text=text))
            finally:
                await llm.chat(prompts.render("ask", text="one more"))

        asked = [then_another("slow"), llm.chat(prompts.render("ask", text="slower"))]
        await asyncio.gather(*asked, llm.chat(prompts.render("ask", text="breaks")))

    outcome = run(several, ["a"], Slow())
    [failed] = outcome.sides["failed"].to_pylist()
    assert json.loads(failed["request"])["messages"][0]["content"] == "Say breaks"
    assert sorted(ended) == ["slow", "slower"]
    assert len(outcome.sides["calls"]) == 3


def test_a_rejected_item_records_what_it_was_made_from_too():
    async def refined(row, llm, prompts):
        return [keep(said="x"), replace(reject("worse", said="y"), after=(0,))]

    outcome = run(refined, ["a"])
    [kept], [rejected] = outcome.kept.to_pylist(), outcome.sides["rejected"].to_pylist()
    assert rejected["parent_ids"] == [*kept["parent_ids"], kept["id"]]


def test_every_call_and_answer_is_on_record():
    async def twice(row, llm, prompts):
        first = await llm.chat(prompts.render("ask", text="one"))
        answers = await llm.sample(prompts.render("ask", text="two"), 2, temperature=0.0)
        return [keep(first, said=answers[1].text)]

    calls = run(twice, ["a"]).sides["calls"].to_pylist()
    assert [(c["call"], c["answers"]) for c in calls] == [(0, ["ONE"]), (1, ["TWO", "TWO"])]
    assert json.loads(calls[0]["prompt"]) == [["user", "Say one"]]


def test_columns_are_checked_before_anything_starts():
    check_columns("say", {"said": "string", "score": "float", "tags": "list[string]"})
    with pytest.raises(Exception, match=r"recipe\.stages\.say\.columns\.said=text: not a type; use one of string"):
        check_columns("say", {"said": "text"})
    with pytest.raises(Exception, match="Nightmill's own"):
        check_columns("say", {"id": "string"})


async def refined(row, llm, prompts):
    """A question, a suggestion, and the question made of both, of which the second is too long."""
    first, hint = [await llm.chat(prompts.render("ask", text=f"{row['text']}{n}")) for n in range(2)]
    better = await llm.chat(prompts.render("ask", text=f"{row['text']}2..."))
    return [keep(first, said=first.text), replace(keep(better, said=better.text), after=(0,), on=(hint,))]


@pytest.mark.parametrize("draws", [1, 2])
def test_an_item_made_of_another_knows_it_and_the_calls_it_rests_on(draws):
    outcome = run(refined, ["a"], draws=draws)
    kept, rejected = outcome.kept.to_pylist(), outcome.sides["rejected"].to_pylist()
    assert [item["provenance"]["calls"] for item in kept] == [[0], [3]][:draws]
    assert [item["provenance"]["calls"] for item in rejected] == [[1, 2], [4, 5]][:draws]
    assert [item["reason"] for item in rejected] == ["cut_by_max_tokens"] * draws
    assert len({item["id"] for item in [*kept, *rejected]}) == 2 * draws


def test_parents_beside_the_row_are_items_of_the_same_sample():
    async def chain(row, llm, prompts):
        return [keep(said="a"), replace(keep(said="b"), after=(0,))]

    ids = {item["id"]: item for item in run(chain, ["a"], draws=2).kept.to_pylist()}
    first, second, third, fourth = ids
    assert [ids[one]["parent_ids"] for one in ids] == [["row0"], ["row0", first], ["row0"], ["row0", third]]


def test_what_came_to_nothing_shows_what_its_items_would_have_had_of_the_row():
    async def none(row, llm, prompts):
        if row["text"] == "b":
            raise CallFailed("broken")
        return []

    outcome = run(none, ["a", "b"], columns={"text": "string", "said": "string"})
    assert [(row["reason"], row["text"]) for row in outcome.sides["rejected"].to_pylist()] == [("no_items", "a")]
    assert [(row["error"], row["text"], row["said"]) for row in outcome.sides["failed"].to_pylist()] == [
        ("call_failed", "b", None)
    ]


def test_a_rows_calls_have_its_rank_and_rows_rise_in_the_order_in_which_they_began():
    engine, ranks = Scripted(), {}

    async def twice(row, llm, prompts):
        for end in ("", "?"):
            answer = await llm.chat(prompts.render("ask", text=row["text"] + end))
        return [keep(answer, said=answer.text)]

    class Noting(Scripted):
        async def generate(self, request):
            ranks.setdefault(request.request_id.rpartition("-")[0], []).append(request.rank)
            return await engine.generate(request)

    run(twice, ["a", "b", "c"], Noting())
    assert ranks == {"row0": [0, 0], "row1": [1, 1], "row2": [2, 2]}
