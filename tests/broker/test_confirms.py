"""The book-keeping of confirms: whatever order the broker answers in, a batch ends when each tag is settled."""

import asyncio
import random

import pytest

from jobservice.broker.confirms import Batch, Ledger
from jobservice.broker.frames import OutgoingMessage


def open_batch(ledger: Ledger, count: int) -> Batch:
    messages = [OutgoingMessage("key", f"{n}", b"") for n in range(count)]
    return ledger.open(messages, asyncio.get_running_loop().create_future())


@pytest.mark.parametrize("seed", range(10))
async def test_single_confirms_in_any_order_end_the_batch_with_the_last(seed: int) -> None:
    ledger, chance = Ledger(), random.Random(seed)
    batch = open_batch(ledger, 50)
    tags = list(range(1, 51))
    chance.shuffle(tags)

    for tag in tags[:-1]:
        ledger.confirm(tag, multiple=False, positive=True)
    before = (batch.settled.done(), ledger.first_open(batch))
    ledger.confirm(tags[-1], multiple=False, positive=True)

    assert before == (False, tags[-1] - 1)
    assert batch.settled.done()
    assert ledger.first_open(batch) is None


async def test_one_confirm_for_many_settles_all_up_to_it() -> None:
    ledger = Ledger()
    batch = open_batch(ledger, 10)

    ledger.confirm(8, multiple=False, positive=True)
    ledger.confirm(6, multiple=True, positive=True)

    assert ledger.first_open(batch) == 6
    ledger.confirm(10, multiple=True, positive=True)
    assert ledger.first_open(batch) is None


async def test_a_refusal_of_many_names_the_first_that_was_not_confirmed_before() -> None:
    ledger = Ledger()
    batch = open_batch(ledger, 10)

    ledger.confirm(4, multiple=True, positive=True)
    ledger.confirm(7, multiple=True, positive=False)
    ledger.confirm(10, multiple=True, positive=True)

    assert batch.settled.done()
    assert ledger.first_open(batch) == 4


async def test_late_answers_to_a_batch_given_up_do_not_touch_the_next() -> None:
    ledger = Ledger()
    open_batch(ledger, 5)
    following = open_batch(ledger, 2)

    ledger.confirm(3, multiple=True, positive=False)
    ledger.confirm(5, multiple=True, positive=True)

    assert not following.settled.done()
    ledger.confirm(7, multiple=True, positive=True)
    assert ledger.first_open(following) is None


async def test_a_batch_that_was_never_sent_gives_its_tags_back() -> None:
    ledger = Ledger()
    ledger.withdraw(open_batch(ledger, 5))

    following = open_batch(ledger, 1)
    ledger.confirm(1, multiple=False, positive=True)

    assert following.settled.done()
