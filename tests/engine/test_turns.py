"""A bound with an order: the lowest rank goes next, and a slot is never lost."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.turns import Turns


@given(ranks=st.lists(st.integers(0, 5), min_size=1, max_size=20), most=st.integers(1, 4))
def test_the_lowest_rank_goes_next_and_the_bound_holds(ranks: list[int], most: int) -> None:
    turns, begun, at_once = Turns(most), list[tuple[int, int]](), list[int]()
    inside = 0

    async def one(number: int, rank: int) -> None:
        nonlocal inside
        async with turns.turn(rank):
            inside += 1
            at_once.append(inside)
            begun.append((rank, number))
            await asyncio.sleep(0)
            inside -= 1

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number, rank in enumerate(ranks):
                group.create_task(one(number, rank))

    asyncio.run(all_of_them())
    assert max(at_once) <= most
    assert sorted(begun) == sorted((rank, number) for number, rank in enumerate(ranks))
    # The first ones find free slots; the others go by rank, and by when they came.
    assert begun[most:] == sorted(begun[most:])


@pytest.mark.parametrize("when", ["waiting", "called"])
async def test_one_that_gives_up_costs_no_slot(when: str) -> None:
    turns = Turns(1)

    async def hold() -> None:
        async with turns.turn(0):
            pass

    async with turns.turn(0):
        waits = asyncio.create_task(hold())
        await asyncio.sleep(0)
        if when == "waiting":
            waits.cancel()
    if when == "called":
        waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    async with asyncio.timeout(5), turns.turn(3):
        pass
