"""When a schedule is due: cron expressions on the clock of a time zone, and intervals.

cronsim says which readings of a clock match an expression; what a clock that is put forward or back does to them is
decided here (docs/schedules.md has the rules, docs/decisions/013-cron.md why cronsim's own are not used). Nothing here
knows what time it is.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EXPRESSION_MAX = 255
EVERY_MAX = 366 * 86_400

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_WHOLE_HOUR = timedelta(hours=1)
_ANY_CLOCK = datetime(2000, 1, 1)  # noqa: DTZ001 - a reading of a clock, of no zone


class BadTiming(ValueError):
    """An expression, an interval or a time zone that means nothing; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Every:
    """Each so many seconds, counted from the date before: its zone does not matter."""

    seconds: int

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= EVERY_MAX:
            raise BadTiming(f"every: must be a whole number of seconds from 1 to {EVERY_MAX}")

    def next_after(self, date: datetime) -> datetime | None:
        """The fire date after this one."""
        return date.astimezone(UTC) + timedelta(seconds=self.seconds)

    def next_from(self, known: datetime, moment: datetime) -> datetime | None:
        """The first fire date at or after `moment`, which is not before `known`, a fire date."""
        step = timedelta(seconds=self.seconds)
        return known.astimezone(UTC) - (known - moment) // step * step


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone. Raises BadTiming when made of what means nothing."""

    expression: str
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self._first_reading(_ANY_CLOCK, inclusive=True) is None:
            raise BadTiming(f"cron {self.expression!r}: there is no such date")

    def next_after(self, date: datetime) -> datetime | None:
        """The first fire date after this one, in UTC; None where there is none in 50 years."""
        after = date.astimezone(UTC)
        return self._next_by_hours(after) if self._names_hours else self._next_by_time(after)

    def next_from(self, known: datetime, moment: datetime) -> datetime | None:
        """The first fire date at or after `moment`."""
        del known
        return self.next_after(moment - timedelta(microseconds=1))

    @cached_property
    def _fields(self) -> str:
        written = self.expression.strip()
        if len(written) > EXPRESSION_MAX:
            raise BadTiming(f"cron: must have at most {EXPRESSION_MAX} characters")
        if written.startswith("@") and written.lower() not in NICKNAMES:
            raise BadTiming(f"cron {written!r}: must be one of {', '.join(NICKNAMES)}, or five or six fields")
        return NICKNAMES.get(written.lower(), written)

    @cached_property
    def _names_hours(self) -> bool:
        """Whether it says at which hours: such a reading of the clock is one fire a day. Others go by the time."""
        return len(CronSim(self._fields, _ANY_CLOCK).hours) < 24

    def _first_reading(self, clock: datetime, *, inclusive: bool = False) -> datetime | None:
        """The first matching reading of a clock that nobody puts forward or back."""
        try:
            return next(CronSim(self._fields, clock - _SECOND if inclusive else clock))
        except CronSimError as error:
            raise BadTiming(f"cron {self.expression!r}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        except (StopIteration, OverflowError):
            return None

    def _next_by_hours(self, after: datetime) -> datetime | None:
        """Each reading once: the first time where there are two, the moment after the gap where there is none."""
        clock: datetime | None = _reading(after, self.zone).replace(microsecond=0)
        while clock is not None and (clock := self._first_reading(clock)) is not None:
            moment = _moment(clock, self.zone)
            # Of two that fall into one gap, or into the second pass of an hour, the later ones have fired.
            if moment > after:
                return moment
        return None

    def _next_by_time(self, after: datetime) -> datetime | None:
        """Each moment at which the clock shows a matching reading: both passes of an hour, and nothing for a gap."""
        begin, inclusive = after.replace(microsecond=0), False
        while True:
            offset = _offset(begin, self.zone)
            reading = self._first_reading((begin + offset).replace(tzinfo=None), inclusive=inclusive)
            if reading is None:
                return None
            moment = reading.replace(tzinfo=UTC) - offset
            change = _first_change(begin, moment, self.zone)
            if change is None:
                return moment
            put_forward = _offset(change, self.zone) - offset
            # An hour that the clock leaves out has not passed, so nothing is due in it. Half an hour of it (Lord Howe)
            # takes the place of half an hour that does pass.
            if put_forward > timedelta(0) and put_forward % _WHOLE_HOUR and reading < _reading(change, self.zone):
                return change
            begin, inclusive = change, True


def time_zone(name: str) -> ZoneInfo:
    """The time zone of this name, such as Europe/Berlin. Raises BadTiming."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadTiming(f"time_zone: there is no time zone {name!r}; it is a name such as Europe/Berlin") from None


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _reading(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the zone's clock shows at this moment."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _moment(reading: datetime, zone: ZoneInfo) -> datetime:
    """When the zone's clock shows this for the first time; if it never does, when it is put forward past it."""
    first = reading.replace(tzinfo=zone).astimezone(UTC)
    if _reading(first, zone) == reading:
        return first
    # In a gap: with the offset of before it comes too late, with that of after too early (PEP 495).
    early = reading.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change_between(early, first, zone)


def _first_change(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first moment after `begin`, and not after `end`, at which the zone's offset is another; None without any.

    A day at a time: no zone changes its offset and takes it back within a day.
    """
    offset = _offset(begin, zone)
    while begin < end:
        later = min(begin + _DAY, end)
        if _offset(later, zone) != offset:
            return _change_between(begin, later, zone)
        begin = later
    return None


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first moment with another offset than that of `before`; `after` has another one."""
    offset = _offset(before, zone)
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if _offset(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after
