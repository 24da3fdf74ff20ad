"""What stages are called, and taken apart again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.names import StageName

WORDS = st.from_regex(r"[a-z_][a-z_0-9]*", fullmatch=True)
BLOCKS = st.from_regex(r"[a-z_]+", fullmatch=True).filter(lambda name: name != "r")


def test_a_stage_of_a_hop_in_a_round() -> None:
    name = StageName.read("r3.hop12.related")
    assert (name.round, name.hop, name.own) == (3, "hop12", "related")
    assert (name.step, str(name)) == ("hop12.related", "r3.hop12.related")


def test_a_stage_of_neither() -> None:
    name = StageName.read("personas")
    assert (name.round, name.hop, name.step) == (0, "", "personas")


@given(WORDS, st.integers(0, 50), st.one_of(st.just(("", 0)), st.tuples(BLOCKS, st.integers(1, 99))))
def test_any_name_is_read_as_it_was_put_together(own: str, round_: int, block: tuple[str, int]) -> None:
    name = StageName(own, round_, *block)
    assert StageName.read(str(name)) == name


def test_what_no_stage_is_called() -> None:
    with pytest.raises(ValueError, match="no stage's name"):
        StageName.read("a.b.c.d")
