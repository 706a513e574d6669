"""Owns what a schedule is defined by, the rules for it, and what one of its ticks submits. Reads and writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from jobservice.domain import late_binding
from jobservice.domain.cron import BadTiming, Cron, Every, time_zone
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.late_binding import BadBinding
from jobservice.domain.names import is_name
from jobservice.domain.schedules import CatchUp, Overlap, Policy, Tick, timing_of

WITHIN_MAX: Final = 10 * 366 * 86_400
_NOT_OF_A_TICK: Final = {
    "status": "a tick's job is queued",
    "idempotency_key": "each tick has its own",
    "trigger_after_date": "the fire date is when it starts",
    "expiration_date": "it would be the same for all ticks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """All that a user says of a schedule. `job` or `pipeline` is what a tick submits, with `{fire_date}` in it."""

    tenant: str
    name: str
    job: Mapping[str, Any] | None = None
    pipeline: Mapping[str, Any] | None = None
    cron: str | None = None
    every: int | None = None
    time_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONCE
    catch_up_within: int = 86_400
    overlap: Overlap = Overlap.ALLOW

    @property
    def timing(self) -> Cron | Every:
        """When it is due. Raises BadTiming."""
        return timing_of(cron=self.cron, every=self.every, zone=self.time_zone)

    @property
    def policy(self) -> Policy:
        """What becomes of ticks that come late or too soon."""
        return Policy(
            self.catch_up,
            timedelta(seconds=self.catch_up_within),
            self.overlap,
            one_by_one=self.overlap is Overlap.QUEUE and self.pipeline is not None,
        )

    def checked(self) -> "Definition":
        """Itself, with plain values. Raises InvalidSubmission, naming the field; what is submitted SQL checks, too."""
        for field in ("tenant", "name"):
            if not is_name(getattr(self, field)):
                raise _bad(field, f"{getattr(self, field)!r} is not a name: letters, digits, - and _, at most 64")
        try:
            _ = self.timing
        except BadTiming as error:
            field, _, reason = str(error).partition(": ")
            raise _bad(field.split()[0].rstrip(","), reason, str(error)) from None
        if not 0 <= self.catch_up_within <= WITHIN_MAX:
            raise _bad("catch_up_within", f"must be seconds from 0 to {WITHIN_MAX}")
        self._check_document()
        return replace(
            self,
            catch_up=_member("catch_up", CatchUp, self.catch_up),
            overlap=_member("overlap", Overlap, self.overlap),
        )

    def submission(self, tick: Tick) -> dict[str, Any]:
        """What a tick submits, once, however often that is tried. Raises BadBinding."""
        template = self.job if self.job is not None else self.pipeline
        local = tick.date.astimezone(time_zone(self.time_zone))
        document: dict[str, Any] = late_binding.bind(template, fire_date=local, schedule=self.name)
        document["tenant"] = self.tenant
        document["user_metadata"] = {
            "schedule": self.name,
            "fire_date": local.isoformat(),
            **(document.get("user_metadata") or {}),
        }
        document["idempotency_key"] = self.key_of(tick.key)
        if self.overlap is Overlap.QUEUE and self.job is not None:
            document["concurrency_key"] = f"schedule:{self.name}"
        return document

    def key_of(self, tick: str) -> str:
        """The idempotency key of a tick."""
        return f"schedule:{self.name}:{tick}"

    def _check_document(self) -> None:
        if (self.job is None) == (self.pipeline is None):
            raise _bad("job", "give a job or a pipeline")
        kind, document = ("job", self.job) if self.job is not None else ("pipeline", self.pipeline)
        if not isinstance(document, Mapping):
            raise _bad(kind, "must be an object")
        for field, reason in _NOT_OF_A_TICK.items():
            if document.get(field) is not None:
                raise _bad(field, f"cannot be set for a schedule: {reason}")
        if document.get("tenant", self.tenant) != self.tenant:
            raise _bad("tenant", f"is {document['tenant']} for the {kind} and {self.tenant} for the schedule")
        if kind == "job" and self.overlap == Overlap.QUEUE and document.get("concurrency_key") is not None:
            raise _bad("overlap", "queue is by a concurrency key of its own: for a job that has none")
        if not isinstance(document.get("user_metadata") or {}, Mapping):
            raise _bad("user_metadata", "must be an object")
        try:
            late_binding.check(document)
        except BadBinding as error:
            place, _, reason = str(error).partition(": ")
            raise _bad(place, reason) from None


def _member(field: str, kind: type[CatchUp] | type[Overlap], value: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise _bad(field, f"must be one of {', '.join(kind)}") from None


def _bad(field: str, reason: str, message: str | None = None) -> InvalidSubmission:
    return InvalidSubmission(message or f"{field}: {reason}", field=field)
