"""A shelf of code: what shares rare words is found, and making the shelf stops no other row."""

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from pipelines.flows.agent_instruct.shelf import Shelf, shelf_of

TEXTS = ("def tideTable(harbour): pass", "def yarn(colour): pass", "def third(): pass")
WATCHED = ("def watched(): ...", "def another(): ...")


def test_what_shares_rare_words_is_found_and_nothing_twice():
    shelf = Shelf(TEXTS)
    assert shelf.nearest("the harbour of the tide", []) == TEXTS[0]
    assert shelf.nearest("the harbour of the tide", [TEXTS[0]]) is None
    assert shelf.nearest("def pass", []) is None  # words that all have tell nothing
    assert Shelf(()).nearest("tide", []) is None


def test_a_short_text_goes_before_a_long_one_that_shares_as_much():
    long = "def tide(): pass  # one two three four five six seven eight nine"
    assert Shelf([long, "def tide(): pass", "def other(): pass"]).nearest("tide", []) == "def tide(): pass"


@given(st.lists(st.text("abcA_ \nä你", max_size=20), max_size=6), st.text("abcA_ ä你", max_size=20))
def test_any_texts_make_a_shelf(texts, query):
    found = Shelf(texts).nearest(query, [])
    assert found is None or found in texts


async def test_a_shelf_is_made_once_and_in_another_thread_than_the_rows_run_in(monkeypatch):
    made_in = []

    class Watched(Shelf):
        def __init__(self, texts):
            made_in.append(threading.get_ident())
            super().__init__(texts)

    monkeypatch.setattr("pipelines.flows.agent_instruct.shelf.Shelf", Watched)
    first, *others = await asyncio.gather(*(shelf_of(WATCHED) for _ in range(20)))
    assert len(made_in) == 1 and made_in[0] != threading.get_ident()
    assert all(other is first for other in others)


async def test_a_row_that_gives_up_leaves_the_shelf_to_others():
    texts = ("def given_up(): pass", "def other(): pass")
    waiting = asyncio.create_task(shelf_of(texts))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await shelf_of(texts)).nearest("given", []) == texts[0]
