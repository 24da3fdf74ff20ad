"""The simulated engine: same request, same answer; its shares hold under the real filters and the real dedup."""

import asyncio
import functools
import json
import math
import statistics
from collections.abc import Iterator

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import settings as keys
from pipelines.dedup import minhash
from pipelines.dedup.lsh.shingles import STEPS
from pipelines.engine import vocabulary
from pipelines.engine.instances import instance
from pipelines.engine.llm import Request, Sampling
from pipelines.engine.simulated import REASONS, SimulatedEngine
from pipelines.errors import CallFailed, UserError
from pipelines.filters import persona
from pipelines.prompts import Rendered
from pipelines.rows import Answer

MODEL = keys.Model(name="none", weights="none", context=4096, parameters=0.1)
PROMPT = Rendered((("system", "Be brief."), ("user", "Who would\nread this text?")), "test/persona", "0" * 16)
ROOMY = Sampling(max_tokens=160)

#: The filters of the persona recipe, in its order.
FILTERS = {
    "too_short": functools.partial(persona.fewer_words, than=3),
    "too_long": functools.partial(persona.more_words, than=80),
    "refusal": persona.refusal,
    "contact": persona.contact,
    "question": persona.question,
    "foreign_language": persona.foreign_language,
    "not_a_person": persona.not_a_person,
}


def engine(seed: int = 0, **knobs: float) -> SimulatedEngine:
    return SimulatedEngine(MODEL, keys.SimulatedEngine(**knobs), seed)


def request(seed: int, **parts: object) -> Request:
    return Request(PROMPT, **{"sampling": ROOMY, "seed": seed, **parts})


async def answers(engine: SimulatedEngine, count: int, **parts: object) -> list[Answer]:
    return [answer for seed in range(count) for answer in await engine.generate(request(seed, **parts))]


def reasons(texts: pa.Array, finish: list[str]) -> list[str | None]:
    """Why each text is rejected, by the first rule that matches, or None."""
    found: pa.Array = pc.if_else(pc.equal(pa.array(finish), "length"), "cut_by_max_tokens", None)
    found = pc.if_else(pc.and_(pc.is_null(found), pc.equal(texts, "")), "unparsable", found)
    for name, rule in FILTERS.items():
        matched = rule(pa.table({"persona": texts}), column="persona")
        found = pc.if_else(pc.and_(pc.is_null(found), matched), name, found)
    return found.to_pylist()


class Texts:
    """A dataset of texts."""

    def __init__(self, texts: list[str]) -> None:
        self.table = pa.table({"id": [f"{i:06d}" for i in range(len(texts))], "text": texts})

    origin = "memory"

    @property
    def rows(self) -> int:
        return len(self.table)

    def cut(self, rows: int) -> list["Texts"]:
        return [self]

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        yield self.table.select(columns)


def removed_by_minhash(texts: list[str]) -> int:
    return minhash.find(Texts(texts), text_column="text", normalise=STEPS).stats["removed"]


async def test_the_default_shares_hold_under_real_filters_and_dedup() -> None:
    count = 20_000
    given_ = await answers(engine(), count)
    why = reasons(pa.array([a.text for a in given_]), [a.finish_reason for a in given_])
    passed = [a.text for a, reason in zip(given_, why, strict=True) if reason is None]
    kept = len(passed) - removed_by_minhash(passed)

    def near(seen: int, share: float, slack: int = 0) -> bool:
        return abs(seen - share * count) <= 4 * math.sqrt(share * (1 - share) * count) + slack

    assert near(kept, 0.8, slack=vocabulary.ORIGINALS)
    assert near(len(passed) - kept, 0.1, slack=vocabulary.ORIGINALS)
    assert {reason for reason in why if reason} == set(REASONS)
    for reason in REASONS:
        assert near(why.count(reason), 0.1 / len(REASONS)), reason


@pytest.mark.parametrize("words_mean", [2, 12, 18, 50, 200])
async def test_accepted_answers_pass_every_filter_and_are_like_no_other(words_mean: int) -> None:
    given_ = await answers(engine(accepted=1, duplicates=0, words_mean=words_mean), 5_000)
    texts = [a.text for a in given_]
    assert set(reasons(pa.array(texts), [a.finish_reason for a in given_])) == {None}
    assert removed_by_minhash(texts) == 0


async def test_duplicates_leave_one_of_each_original() -> None:
    texts = [a.text for a in await answers(engine(accepted=0, duplicates=1), 5_000)]
    assert set(reasons(pa.array(texts), ["stop"] * len(texts))) == {None}
    assert len(texts) - removed_by_minhash(texts) == vocabulary.ORIGINALS
    assert len(set(texts)) > 10 * vocabulary.ORIGINALS


async def test_the_same_request_gets_the_same_answer_in_any_batching() -> None:
    alone = await answers(engine(7), 200, n=2)
    slow = engine(7, latency_s=1e-4, latency_sigma=2.0, max_num_seqs=3)
    together = await asyncio.gather(*(slow.generate(request(seed, n=2)) for seed in reversed(range(200))))
    assert [a for pair in reversed(together) for a in pair] == alone
    assert [a.n_index for a in alone[:4]] == [0, 1, 0, 1]
    assert len({a.text for a in alone}) > 300
    assert [a.text for a in await answers(engine(8), 200, n=2)] != [a.text for a in alone]


async def test_no_more_answers_at_once_than_slots() -> None:
    asleep, most = 0, 0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal asleep, most
        asleep += 1
        most = max(most, asleep)
        await sleep(seconds)
        asleep -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", counted)
        slow = engine(latency_s=1e-3, latency_sigma=0.0, max_num_seqs=5)
        await asyncio.gather(*(slow.generate(request(seed)) for seed in range(40)))
    assert most == 5


async def test_lengths_follow_words_mean() -> None:
    for mean in (14, 18, 40):
        lengths = [a.completion_tokens for a in await answers(engine(accepted=1, duplicates=0, words_mean=mean), 2_000)]
        assert statistics.mean(lengths) == pytest.approx(mean, abs=1.5)
        assert min(lengths) >= min(10, 0.6 * mean - 1)
        assert max(lengths) <= 1.4 * mean + 1


async def test_tokens_are_words_and_max_tokens_cuts() -> None:
    for answer in await answers(engine(), 500, sampling=Sampling(max_tokens=12, logprobs=True)):
        assert answer.completion_tokens == len(answer.text.split()) == len(answer.logprobs or ()) <= 12
        if answer.cut:
            assert answer.completion_tokens == 12
        assert answer.prompt_tokens == 7
        assert all(value <= 0 for value in answer.logprobs or ())


async def test_answers_carry_what_provenance_records() -> None:
    answer = (await engine().generate(request(5, n=3, sampling=Sampling(temperature=0.3, top_k=7))))[2]
    assert (answer.seed, answer.n_index, answer.prompt_id, answer.prompt_hash) == (5, 2, "test/persona", "0" * 16)
    assert answer.sampling == {"temperature": 0.3, "top_p": 1.0, "top_k": 7, "max_tokens": 256}


async def test_a_stop_string_ends_an_answer() -> None:
    for answer in await answers(engine(accepted=1, duplicates=0), 50, sampling=Sampling(stop=(" who ",))):
        assert " who " not in answer.text
        assert answer.finish_reason == "stop"
        assert answer.completion_tokens == 6


async def test_the_configured_share_of_calls_fails_and_fails_again() -> None:
    broken = engine(errors=0.25)

    async def fails(seed: int) -> bool:
        try:
            await broken.generate(request(seed))
        except CallFailed as error:
            assert "engine.errors=0.25" in str(error)
            return True
        return False

    first = [await fails(seed) for seed in range(2_000)]
    assert sum(first) == pytest.approx(500, abs=80)
    assert [await fails(seed) for seed in range(2_000)] == first


async def test_it_starts_stops_and_stays_alive() -> None:
    one = engine()
    await one.start()
    assert one.alive()
    await one.stop()
    assert one.alive()


async def test_several_personas_as_a_list_hold_the_shares_too() -> None:
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3}
    given_ = await answers(engine(), 2_000, schema=schema)
    whole = [json.loads(a.text) for a in given_ if not a.cut]
    assert all(len(people) == 3 for people in whole)
    with pytest.raises(ValueError, match="Unterminated string"):
        for answer in given_:
            if answer.cut:
                json.loads(answer.text)
    texts = [text for people in whole for text in people]
    why = reasons(pa.array(texts), ["stop"] * len(texts))
    passed = [text for text, reason in zip(texts, why, strict=True) if reason is None]
    assert len(passed) - removed_by_minhash(passed) == pytest.approx(0.8 * 6_000, abs=130)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"accepted": 1.5}, r"engine.accepted=1.5"),
        ({"accepted": 0.8, "duplicates": 0.3}, r"engine.accepted=0.8 and engine.duplicates=0.3"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine(**knobs)


# Schemas: any that structured output is asked with has an instance.

numbers = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={
        "minimum": st.integers(-50, 0),
        "exclusiveMinimum": st.integers(-50, 0),
        "maximum": st.integers(30, 90),
        "exclusiveMaximum": st.integers(30, 90),
        "multipleOf": st.sampled_from([1, 2, 5, 7]),
    },
)
leaves = st.one_of(
    numbers,
    st.just({}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, True]),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 40), "maxLength": st.integers(40, 300)}
    ),
    st.fixed_dictionaries({"enum": st.lists(st.one_of(st.text(max_size=3), st.integers()), min_size=1, max_size=4)}),
    st.fixed_dictionaries({"const": st.one_of(st.none(), st.text(max_size=3), st.integers())}),
    st.just({"$ref": "#/$defs/person"}),
    st.just({"allOf": [{"$ref": "#/$defs/person"}], "title": "someone"}),
)


def holding(inner: st.SearchStrategy) -> st.SearchStrategy:
    names = st.text("abc", min_size=1, max_size=2)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array")},
            optional={
                "items": inner,
                "minItems": st.integers(0, 3),
                "maxItems": st.integers(3, 6),
                "prefixItems": st.lists(inner, min_size=1, max_size=2),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(names, inner, max_size=3)},
            optional={"required": st.lists(names, unique=True, max_size=2), "additionalProperties": inner},
        ),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
    )


@settings(deadline=None, max_examples=300)
@given(schema=st.recursive(leaves, holding, max_leaves=8), seed=st.integers(0, 1000))
def test_every_answer_obeys_the_schema(schema: object, seed: int) -> None:
    person = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "friends": {"type": "array", "items": {"$ref": "#/$defs/person"}}},
        "required": ["name"],
    }
    whole = {"properties": {"made": schema}, "required": ["made"], "$defs": {"person": person}}
    draw = vocabulary.draws("test", seed)
    made = instance(whole, lambda: vocabulary.accepted(draw, 12), draw)
    jsonschema.Draft202012Validator(whole).validate(json.loads(json.dumps(made)))
    again = vocabulary.draws("test", seed)
    assert made == instance(whole, lambda: vocabulary.accepted(again, 12), again)


def test_unique_items_differ() -> None:
    draw = vocabulary.draws(0)
    schema = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True}
    assert sorted(instance(schema, str, draw)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "pattern": "^a+$"}, "does not know pattern"),
        ({"type": "text"}, "type 'text'"),
        ({"$ref": "https://example.org/other"}, "inside a JSON schema only"),
        ({"$ref": "#/$defs/nobody"}, "which it does not hold"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "between 2 and 1"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "at least 3 and at most 2"),
        ({"enum": ["a"], "type": "array", "items": False, "minItems": 1}, None),
        ({"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True}, "different items"),
        ({"type": "string", "minLength": 9, "maxLength": 2}, "minLength is above its maxLength"),
    ],
)
def test_a_schema_that_cannot_be_obeyed_is_refused_by_name(schema: dict[str, object], message: str | None) -> None:
    draw = vocabulary.draws(0)
    if message is None:
        assert instance(schema, str, draw) == "a"
        return
    with pytest.raises(UserError, match=message):
        instance(schema, lambda: "A luthier", draw)
