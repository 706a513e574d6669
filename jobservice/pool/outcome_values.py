"""Owns how claimed jobs and outcomes are written for another process, and read back."""

from typing import Any

import orjson
from pydantic import TypeAdapter

from jobservice.domain.claimed import ClaimedJob
from jobservice.domain.outcomes import Aborted, Failed, HandedBack, Outcome, Retried, Succeeded

_CLAIMED = TypeAdapter(ClaimedJob)
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Succeeded, Failed, Aborted, HandedBack)}


def claimed_to_value(claimed: ClaimedJob) -> Any:
    """JSON values."""
    return orjson.loads(orjson.dumps(claimed, default=str))  # a driver's UUID is no UUID to orjson


def claimed_from_value(value: Any) -> ClaimedJob:
    """What `claimed_to_value` made."""
    return _CLAIMED.validate_python(value)


def outcome_to_value(outcome: Outcome) -> dict[str, Any]:
    """JSON values."""
    if isinstance(outcome, Retried):
        return {"kind": "Retried", "failed": outcome_to_value(outcome.failed), "delay": outcome.delay}
    fields = {name: getattr(outcome, name) for name in type(outcome).__slots__}
    return {"kind": type(outcome).__name__, **fields}


def outcome_from_value(value: dict[str, Any]) -> Outcome:
    """What `outcome_to_value` made."""
    fields = dict(value)
    kind = fields.pop("kind")
    if kind == "Retried":
        failed = outcome_from_value(fields["failed"])
        assert isinstance(failed, Failed)
        return Retried(failed, fields["delay"])
    outcome: Outcome = _KINDS[kind](**fields)
    return outcome
