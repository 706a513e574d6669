"""What a schedule does when it is looked at: which of its ticks fire, which were missed, and when it is due next.

Pure: whoever asks brings the time. A tick is a fire date; each one either fires, as one job, or is missed and told.
One of a schedule of pipelines may wait first, for the pipeline of the one before.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from jobservice.domain.cron import BadTiming, Cron, Every, time_zone

ON_TIME: Final = timedelta(minutes=1)
"""A tick that is found no later than this fires whatever the policies for late ones say."""
BATCH: Final = 100
"""Ticks that one look fires at most; the next look goes on."""
COUNTED: Final = 1_000
"""Missed ticks are counted up to here, of one outage."""
WAITING_MAX: Final = 1_000
"""Ticks of a schedule that wait at most; what comes then is missed."""


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
    """A job is submitted and waits for the others: they share a concurrency key. A pipeline's tick waits itself."""


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
    one_by_one: bool = False
    """Ticks wait for the pipeline of the one before."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What is submitted once, for a fire date or on a user's word."""

    date: datetime
    key: str
    """Tells it from the schedule's other ticks."""

    @classmethod
    def of(cls, date: datetime) -> "Tick":
        """That of a fire date."""
        return cls(date, date.astimezone(UTC).isoformat())


@dataclass(frozen=True, slots=True)
class Waiting:
    """The ticks of a schedule that wait: the oldest ones, as many as a look may fire, and how many there are."""

    oldest: tuple[Tick, ...] = ()
    count: int = 0


NOTHING_WAITS: Final = Waiting()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a schedule comes to."""

    fires: tuple[datetime, ...]
    """Dates that have come and fire."""
    next_date: datetime | None
    """Not after now where more ticks are due than one look fires."""
    resumes: tuple[Tick, ...] = ()
    """Ticks that waited and fire."""
    waits: tuple[datetime, ...] = ()
    """Dates that have come and begin to wait."""
    dropped: tuple[Tick, ...] = ()
    """Ticks that waited and are missed."""
    missed: int = 0
    missed_date: datetime | None = None
    """The newest tick that was missed."""
    why: Missed | None = None

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """What fires, in its order."""
        return self.resumes + tuple(Tick.of(date) for date in self.fires)


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


def look(
    timing: Timing,
    due: datetime | None,
    now: datetime,
    policy: Policy,
    *,
    busy: bool,
    waiting: Waiting = NOTHING_WAITS,
) -> Look:
    """What to do with a schedule whose next fire date has come, or whose ticks may wait no more.

    `busy`: what its last tick submitted has not ended.
    """
    if waiting.count and not policy.one_by_one:
        return _wait_no_more(due, policy, waiting, busy=busy)
    begin = None if due is None else _first_to_fire(timing, due, now, policy)
    fires, next_date = _until(timing, begin, now)
    missed = 0 if due is None else _count(timing, due, begin)
    late = missed > 0
    resumes: tuple[Tick, ...] = ()
    waits: list[datetime] = []
    skipped = fires[0 if busy else 1 :] if policy.overlap is Overlap.SKIP else []
    if policy.one_by_one:
        resumes, fires, waits, skipped = _in_turn(fires, waiting, busy=busy)
    elif skipped:
        fires = fires[: len(fires) - len(skipped)]
    missed_date = skipped[-1] if skipped else _last(timing, due, begin) if late and due is not None else None
    return Look(
        fires=tuple(fires),
        next_date=next_date,
        resumes=resumes,
        waits=tuple(waits),
        missed=missed + len(skipped),
        missed_date=missed_date,
        why=Missed.OVERLAP if skipped else Missed.LATE if late else None,
    )


def _in_turn(
    dates: list[datetime], waiting: Waiting, *, busy: bool
) -> tuple[tuple[Tick, ...], list[datetime], list[datetime], list[datetime]]:
    """Who waited and fires, and which dates fire, wait and are missed: the oldest of all fires, unless `busy`."""
    resumes = waiting.oldest[:1]
    if busy or (resumes and dates and dates[0] < resumes[0].date):
        resumes = ()
    first = 0 if busy or resumes else 1
    room = max(0, WAITING_MAX - waiting.count + len(resumes))
    return resumes, dates[:first], dates[first : first + room], dates[first + room :]


def _wait_no_more(due: datetime | None, policy: Policy, waiting: Waiting, *, busy: bool) -> Look:
    """Of a schedule that lets no tick wait any more. The dates that have come since have their turn in another look."""
    fired = len(waiting.oldest)
    if policy.overlap is Overlap.SKIP:
        fired = 0 if busy else 1
    resumes, dropped = waiting.oldest[:fired], waiting.oldest[fired:]
    return Look(
        fires=(),
        next_date=due,
        resumes=resumes,
        dropped=dropped,
        missed=len(dropped),
        missed_date=dropped[-1].date if dropped else None,
        why=Missed.OVERLAP if dropped else None,
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
