"""What a schedule does when it is looked at: which of its ticks fire, which were missed, and when it is due next.

Pure: whoever asks brings the time. A tick is a fire date; each one either fires, as one job, or is missed and told.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from jobservice.domain.cron import BadTiming, Cron, Every, time_zone

ON_TIME: Final = timedelta(minutes=1)
"""A tick that is found no later than this fires whatever the policies for late ones say."""
BATCH: Final = 100
"""Ticks that one look fires at most; the next look goes on."""
COUNTED: Final = 1_000
"""Missed ticks are counted up to here, of one outage."""


class Timing(Protocol):
    """When a schedule is due."""

    def next_after(self, date: datetime) -> datetime | None:
        """The first fire date after this one, a fire date itself for an interval."""

    def next_from(self, known: datetime, moment: datetime) -> datetime | None:
        """The first fire date at or after `moment`, which is not before `known`, a fire date."""


class CatchUp(StrEnum):
    """What becomes of ticks that nobody was there to fire."""

    SKIP = "skip"
    """They are missed."""
    ONCE = "once"
    """The newest one fires for all of them."""
    ALL = "all"
    """Each one fires, unless it is older than `catch_up_within`."""


class Overlap(StrEnum):
    """What a tick does while the job of the one before has not ended."""

    ALLOW = "allow"
    """It fires."""
    SKIP = "skip"
    """It is missed."""
    QUEUE = "queue"
    """It fires, and its job waits for the others: they share a concurrency key."""


class Missed(StrEnum):
    """Why a tick did not fire."""

    LATE = "late"
    """Nobody was there in time."""
    OVERLAP = "overlap"
    """The job of the tick before had not ended."""
    REFUSED = "refused"
    """What it was to submit is not accepted any more."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with ticks that come late or too soon."""

    catch_up: CatchUp = CatchUp.ONCE
    within: timedelta = timedelta(days=1)
    overlap: Overlap = Overlap.ALLOW


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a schedule that is due comes to."""

    fires: tuple[datetime, ...]
    next_date: datetime | None
    """Not after now where more ticks are due than one look fires."""
    missed: int = 0
    missed_date: datetime | None = None
    """The newest tick that was missed."""
    why: Missed | None = None


def timing_of(*, cron: str | None, every: int | None, zone: str) -> Cron | Every:
    """The timing of a schedule. Raises BadTiming, naming the field."""
    if (cron is None) == (every is None):
        raise BadTiming("cron, every: give one of the two")
    checked = time_zone(zone)
    if cron is not None:
        return Cron(cron, checked)
    assert every is not None
    return Every(every)


def first_date(timing: Timing, now: datetime) -> datetime | None:
    """The first fire date of a new schedule: an interval begins with one interval from now."""
    return timing.next_after(now)


def look(timing: Timing, due: datetime, now: datetime, policy: Policy, *, busy: bool) -> Look:
    """What to do with a schedule whose next fire date has come. `busy`: the job of its last tick has not ended."""
    begin = _first_to_fire(timing, due, now, policy)
    fires, next_date = _until(timing, begin, now)
    missed = _count(timing, due, begin)
    late = missed > 0
    skipped = fires[0 if busy else 1 :] if policy.overlap is Overlap.SKIP else []
    missed_date = skipped[-1] if skipped else _last(timing, due, begin) if late else None
    return Look(
        fires=tuple(fires[: len(fires) - len(skipped)]),
        next_date=next_date,
        missed=missed + len(skipped),
        missed_date=missed_date,
        why=Missed.OVERLAP if skipped else Missed.LATE if late else None,
    )


def _first_to_fire(timing: Timing, due: datetime, now: datetime, policy: Policy) -> datetime | None:
    """The first tick from `due` on that is not given up."""
    if due >= now - ON_TIME:
        return due
    if policy.catch_up is CatchUp.ONCE:
        newest = newest_until(timing, due, now)
        if newest >= now - max(policy.within, ON_TIME):
            return newest
    kept = max(policy.within, ON_TIME) if policy.catch_up is CatchUp.ALL else ON_TIME
    return timing.next_from(due, max(due, now - kept))


def newest_until(timing: Timing, first: datetime, now: datetime) -> datetime:
    """The newest fire date that is not after `now`, given one of them: by halves, since there may be millions."""
    newest, end = first, now
    while True:
        following = timing.next_after(newest)
        if following is None or following > end:
            return newest
        middle = newest + (end - newest) / 2
        candidate = timing.next_from(newest, middle)
        if candidate is not None and candidate <= end:
            newest = max(candidate, following)
        else:
            newest, end = following, middle


def _until(timing: Timing, begin: datetime | None, now: datetime) -> tuple[list[datetime], datetime | None]:
    dates: list[datetime] = []
    while begin is not None and begin <= now and len(dates) < BATCH:
        dates.append(begin)
        begin = timing.next_after(begin)
    return dates, begin


def _count(timing: Timing, first: datetime, end: datetime | None) -> int:
    count = 0
    date: datetime | None = first
    while date is not None and (end is None or date < end) and count < COUNTED:
        count += 1
        date = timing.next_after(date)
    return count


def _last(timing: Timing, first: datetime, end: datetime | None) -> datetime:
    """The newest fire date from `first` on that is before `end`."""
    return first if end is None else newest_until(timing, first, end - timedelta(microseconds=1))
