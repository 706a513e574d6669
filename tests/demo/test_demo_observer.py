"""What the demo hears, and for how long it waits: as long as anything comes."""

import asyncio

import orjson
import pytest
from records import events_of, good_record

from jobservice.broker.messages import JobEvent
from jobservice.demo.observer import Observer
from jobservice.demo.plan import Part

SILENCE = 30.0


def body_of(event: JobEvent) -> bytes:
    data = {
        name: getattr(event, name) for name in ("job_id", "tenant", "queue", "job_class", "status", "final", "sequence")
    }
    return orjson.dumps({"id": event.id, "time": event.time, "data": data})


def observer_of(told: list[JobEvent]) -> Observer:
    return Observer(told.append)


async def test_an_event_that_comes_twice_is_kept_twice_and_shown_once() -> None:
    told: list[JobEvent] = []
    observer = observer_of(told)
    first, *_ = good_record().events

    observer.hear(body_of(first))
    observer.hear(body_of(first))

    assert (len(observer.events), len(told)) == (2, 1)


async def test_it_waits_until_the_last_of_the_jobs_has_ended() -> None:
    record = good_record()
    observer = observer_of([])
    waiting = asyncio.create_task(observer.ended(record.parts.keys(), SILENCE))

    *events, last = record.events
    for event in events:
        observer.hear(body_of(event))
        await asyncio.sleep(0)
    early = waiting.done()
    observer.hear(body_of(last))
    await waiting

    assert not early


async def test_a_job_that_ends_without_having_been_running_is_waited_for_no_longer() -> None:
    record = good_record()
    observer = observer_of([])
    [ended] = events_of(record, Part.STOPPED_WAITING)

    observer.hear(body_of(ended))

    await observer.started(ended.job_id, SILENCE)


async def test_silence_ends_the_waiting() -> None:
    record = good_record()

    with pytest.raises(TimeoutError):
        await observer_of([]).ended(record.parts.keys(), 0.01)


async def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ValueError, match="not a job event"):
        observer_of([]).hear(b"{}")
