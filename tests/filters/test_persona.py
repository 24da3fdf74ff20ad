"""Persona filters: what each rejects, what none may reject, and how they treat 5,000 released personas."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.filters import persona

Rule = Callable[..., pa.BooleanArray]

RULES: dict[str, Rule] = {
    "too_short": functools.partial(persona.fewer_words, than=3),
    "too_long": functools.partial(persona.more_words, than=80),
    "several": persona.several,
    "refusal": persona.refusal,
    "contact": persona.contact,
    "question": persona.question,
    "foreign_language": persona.foreign_language,
    "not_a_person": persona.not_a_person,
}

PERSONAS = [
    "A retired lighthouse keeper who restores barometers",
    "An oncology nurse with ten years of night shifts",
    "I'm a luthier in Cremona, fond of spruce and silence.",
    "a chemistry major working on organic solar cells",
    "Someone who counts migrating cranes every autumn between 1990-1995",
    "A fan of the song 'Do They Know It's Christmas?' from Leeds",
    "The author of a cookbook about de la Cruz family recipes from Oaxaca",
    "Café owner in Zürich who can't stand decaf and asks for €5",
    "A person who cannot swim but works as a ship's cook",
    "A racing driver with 1. and 2. places in Formula 3 and a 2.5 litre engine",
    "A nurse - on night shifts - who\nknits for the ward",
]


def rejected(rule: Rule, *texts: str | None) -> list[bool]:
    return rule(pa.table({"persona": pa.array(texts, pa.string())}), column="persona").to_pylist()


@pytest.mark.parametrize("name", RULES)
def test_no_rule_rejects_a_persona(name: str) -> None:
    assert rejected(RULES[name], *PERSONAS) == [False] * len(PERSONAS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("too_short", "A teacher"),
        ("too_short", "   \t\n "),
        ("too_long", "A teacher who " + "walks " * 80),
        ("several", "1. A nurse who sings\n2. A baker who runs"),
        ("several", "- a nurse on night shifts\n\n- a baker of rye"),
        ("several", "People close to them:\n* a nurse\n* a baker"),
        ("several", "1) A nurse who sings 2) A baker who runs"),
        ("several", '["A nurse who sings", "A baker who runs"]'),
        ("several", '{"persona": "A baker who bakes"}'),
        ("several", "– A baker of rye\n– A nurse who cares"),
        ("several", "• A baker who bakes • A nurse who nurses"),
        ("several", "(1) A baker of rye\n(2) A nurse who cares"),
        ("several", "1 - A baker of rye\n2 - A nurse who cares"),
        ("refusal", "I must decline to describe this person."),
        ("refusal", "N/A - no person found"),
        ("refusal", "I'm sorry, but I cannot provide a persona for this text."),
        ("refusal", "I can’t assist with that request."),
        ("refusal", "As an AI language model, I have no opinion on gardeners."),
        ("refusal", "Here is a persona: a gardener who grows leeks"),
        ("refusal", "Sure! A gardener who grows leeks"),
        ("refusal", "Persona 2: A gardener who grows leeks"),
        ("refusal", "The text describes a gardener who grows leeks"),
        ("refusal", "Based on the given text, a gardener who grows leeks"),
        ("contact", "A gardener who answers at leek.grower@example.org"),
        ("contact", "A gardener who blogs on https://leeks.example"),
        ("contact", "A gardener who runs www.leeks.example"),
        ("contact", "A gardener who can be rung at (555) 010-1234"),
        ("contact", "A gardener who answers +44 20 7946 0958 at night"),
        ("contact", "A gardener; call 555-0142 for leeks"),
        ("question", "What kind of gardener grows leeks?"),
        ("question", 'A gardener, perhaps?"'),
        ("question", "一位园丁吗？"),
        ("foreign_language", "一位在乡村小学教数学的老师"),
        ("foreign_language", "Опытный садовник, который выращивает лук"),
        ("foreign_language", "นักพัฒนาซอฟต์แวร์ที่เชี่ยวชาญในงานการพัฒนาเว็บไซต์"),
        ("foreign_language", "Un jardinier qui cultive des poireaux dans le nord et les vend au marché"),
        ("foreign_language", "Eine Gärtnerin, die mit ihrer Tochter Lauch für den Markt zieht und verkauft"),
        ("not_a_person", "The importance of crop rotation in cold climates"),
        ("not_a_person", "A financial institution seeking legal advice on compliance"),
        ("not_a_person", "A major advance in solar panels and batteries"),
    ],
)
def test_each_rule_rejects_what_it_is_named_for(name: str, text: str) -> None:
    assert rejected(RULES[name], text) == [True]


def test_null_is_rejected_as_too_short_and_by_no_other_rule() -> None:
    verdicts = {name: rejected(rule, None, "") for name, rule in RULES.items()}
    assert verdicts.pop("too_short") == [True, True]
    assert set(map(tuple, verdicts.values())) == {(False, False)}


def test_other_languages_are_a_setting() -> None:
    german = "Eine Gärtnerin, die mit ihrer Tochter Lauch für den Markt zieht und verkauft"
    russian = "Опытный садовник, который выращивает лук"
    rule = functools.partial(persona.foreign_language, languages=["de", "ru"])
    assert rejected(rule, german, russian, "A gardener who is fond of the leeks that grow by the sea") == [
        False,
        False,
        True,
    ]
    assert rejected(functools.partial(persona.foreign_language, languages=["ru"]), russian, german) == [False, True]


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"languages=\['klingon'\].*en, de"):
        rejected(functools.partial(persona.foreign_language, languages=["klingon"]), "A gardener")


def test_a_missing_or_numeric_column_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'persona'.*'text'"):
        persona.refusal(pa.table({"text": ["x"]}), column="persona")
    with pytest.raises(UserError, match="'persona'.*int64"):
        persona.refusal(pa.table({"persona": [1]}), column="persona")


@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=20))
def test_any_text_gets_one_verdict_a_row_alone_or_in_company(texts: list[str | None]) -> None:
    for rule in RULES.values():
        together = rejected(rule, *texts)
        assert together == [rejected(rule, text)[0] for text in texts]
        assert all(type(verdict) is bool for verdict in together)


@given(
    st.lists(st.text("ab \t\x0b\x1c\x1f\x85\xa0\u1680\u2003\u2028\u3000\u200b\x00é語", max_size=30), max_size=10),
    st.integers(0, 12),
)
def test_word_counts_agree_with_str_split(texts: list[str], than: int) -> None:
    lengths = [len(text.split()) for text in texts]
    assert rejected(functools.partial(persona.fewer_words, than=than), *texts) == [n < max(than, 1) for n in lengths]
    assert rejected(functools.partial(persona.more_words, than=than), *texts) == [n > than for n in lengths]


def test_released_personas_pass_nearly_all() -> None:
    path = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data")) / "personas.parquet"
    if not path.exists():
        pytest.skip("real data is absent: NIGHTMILL_TEST_DATA names no folder with personas.parquet")
    released = pq.read_table(path, filters=[("source", "=", "persona_hub_tool")])
    verdicts = {name: rule(released, column="persona") for name, rule in RULES.items()}
    shares = {name: pc.mean(verdict.cast(pa.int8())).as_py() for name, verdict in verdicts.items()}
    # The file holds about 3.2% personas in other languages and 1% companies, animals and machines; the rest must pass.
    assert shares["foreign_language"] < 0.035
    assert shares["not_a_person"] < 0.02
    assert max(shares[name] for name in ("too_long", "refusal", "contact", "question")) < 0.001
    english = released.filter(pc.invert(verdicts["foreign_language"]))
    assert english.num_rows > 4800
    any_rule = functools.reduce(pc.or_, [rule(english, column="persona") for rule in RULES.values()])
    assert pc.mean(any_rule.cast(pa.int8())).as_py() < 0.02


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I'm sorry, but I cannot write this problem.", True),
        ("As an AI language model, I have no tools.", True),
        ("I can't help with that.", True),
        ("I'm sorry I missed your call: write that to my landlord, and why", False),
        ("Draft a letter that says I cannot provide the form before Monday", False),
        ("Here is the log of my kiln; find what cracked the glaze", False),
        ("Based on the text below, list three risks", False),
    ],
)
def test_a_text_is_declined_only_where_it_opens_with_a_refusal(text: str, said: bool) -> None:
    assert rejected(persona.declined, text) == [said]
