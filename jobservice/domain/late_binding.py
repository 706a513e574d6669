"""What a schedule's job says of the tick that made it: `{fire_date}` inside of texts, put in when the tick fires.

`{fire_date}` is the date in ISO 8601 in the schedule's time zone, `{fire_date:%Y-%m-%d}` what strftime makes of it,
`{schedule}` the schedule's name; `{{` and `}}` are the braces themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final

FIRE_DATE: Final = "fire_date"
SCHEDULE: Final = "schedule"

_SAMPLE = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_DEPTH_MAX = 64


class BadBinding(ValueError):
    """Braces in a text that stand for nothing; the text says where and what."""


def bind(document: Any, *, fire_date: datetime, schedule: str) -> Any:
    """The document with each of its texts bound, keys left as they are. Raises BadBinding."""
    return _Binding(fire_date, schedule).bound(document)


def check(document: Any) -> None:
    """Raises BadBinding for a document that could not be bound."""
    bind(document, fire_date=_SAMPLE, schedule="sample")


@dataclass(frozen=True, slots=True)
class _Binding:
    fire_date: datetime
    schedule: str

    def bound(self, value: Any, place: str = "", depth: int = 0) -> Any:
        if depth > _DEPTH_MAX:
            raise BadBinding(f"{place}: is nested deeper than {_DEPTH_MAX}")
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, Mapping):
            return {
                key: self.bound(member, f"{place}.{key}" if place else str(key), depth + 1)
                for key, member in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return [self.bound(member, f"{place}[{index}]", depth + 1) for index, member in enumerate(value)]
        return value

    def _text(self, text: str, place: str) -> str:
        if "{" not in text and "}" not in text:
            return text
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise BadBinding(f"{place}: {error}; write {{{{ and }}}} for braces") from None
        return "".join(
            literal + ("" if name is None else self._value(name, form or "", conversion, place))
            for literal, name, form, conversion in parts
        )

    def _value(self, name: str, form: str, conversion: str | None, place: str) -> str:
        if name == SCHEDULE and not form and not conversion:
            return self.schedule
        if name != FIRE_DATE or conversion:
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise BadBinding(
                f"{place}: {{{written}}} is not known: there are {{fire_date}}, {{fire_date:%Y-%m-%d}} and "
                "{schedule}; write {{ and }} for braces"
            )
        return self._formatted(form, place) if form else self.fire_date.isoformat()

    def _formatted(self, form: str, place: str) -> str:
        try:
            text = self.fire_date.strftime(form)
        except (ValueError, UnicodeError) as error:
            raise BadBinding(f"{place}: {form!r} is no form of a date: {error}") from None
        if "%" not in form or "%" in text or "\x00" in text:
            raise BadBinding(f"{place}: {form!r} is no form of a date; write one such as %Y-%m-%d")
        return text
