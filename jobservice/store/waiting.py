"""Why a job is not running, in words, from the facts that `job_reader` fetched. Pure; the list of reasons is fixed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobservice.domain.rates import Rate

_AHEAD_SHOWN = 10_000
_HELD = {
    "user": "held: PENDING until somebody enqueues it",
    "parts": "waits for the parts of one of its steps, which run as jobs of their own",
}


def reasons(facts: Mapping[str, Any], now: datetime) -> list[str]:
    """The reasons, the nearest one first; empty where the job is not waiting."""
    if facts["status"] == "PENDING":
        return [_held(facts, now)]
    if facts["status"] != "QUEUED":
        return []
    found = [*_holds(facts), *_pauses(facts), *_limits(facts), *_key(facts), *_rates(facts), *_daemons(facts)]
    if facts["expiration_date"] is not None and facts["expiration_date"] <= now:
        found.insert(0, f"expired on {facts['expiration_date'].isoformat()}: it will end FAILED")
    return [*found, *_places(facts)]


def _held(facts: Mapping[str, Any], now: datetime) -> str:
    if facts["held"] in _HELD:
        return _HELD[facts["held"]]
    if facts["held"] == "stage":
        return _held_by_stage(facts)
    why = "its trigger date" if facts["held"] == "trigger" else "its next attempt"
    date = facts["trigger_after_date"]
    return f"{why} is {date.isoformat()}{', which is past: a daemon will queue it' if date <= now else ''}"


def _held_by_stage(facts: Mapping[str, Any]) -> str:
    pipeline = f"pipeline {facts['pipeline']} ({facts['pipeline_id']})"
    if facts["pipeline_status"] == "PENDING":
        return f"held: {pipeline} was not started"
    beside = (
        " and on hold" if facts["stage_hold"] else ", and the pipeline is paused" if facts["pipeline_paused"] else ""
    )
    return f"held: stage {facts['stage_position']} ({facts['stage_name']}) of {pipeline} is not open yet{beside}"


def _holds(facts: Mapping[str, Any]) -> list[str]:
    holds = {
        "all job classes are held": facts["hold_of_all"],
        f"job class {facts['job_class']} is held": facts["class_hold"],
    }
    found = [f"{what}: {reason}" if reason else what for what, reason in holds.items() if reason is not None]
    if facts["pipeline_ending"] is not None:
        found.append(f"pipeline {facts['pipeline']} is ending {facts['pipeline_ending']}")
    return found


def _pauses(facts: Mapping[str, Any]) -> list[str]:
    return [f"{kind} {facts[kind]} is paused" for kind in ("pipeline", "queue", "tenant") if facts[f"{kind}_paused"]]


def _limits(facts: Mapping[str, Any]) -> list[str]:
    here = f"tenant {facts['tenant']} on queue {facts['queue']}"
    named = {"queue": f"queue {facts['queue']}", "tenant": f"tenant {facts['tenant']}", "share": here}
    return [
        f"the limit of {name} is reached: {facts[f'{kind}_live']} of {facts[f'{kind}_max']} run"
        for kind, name in named.items()
        if facts[f"{kind}_max"] is not None and facts[f"{kind}_live"] >= facts[f"{kind}_max"]
    ]


def _key(facts: Mapping[str, Any]) -> list[str]:
    key, limit, live = facts["concurrency_key"], facts["key_max"], facts["key_live"]
    if limit == 0:
        return [f"the concurrency key {key} lets nothing run: its limit is 0"]
    if key is None or not (facts["blocked"] or (limit is not None and live >= limit)):
        return []
    holders = ", ".join(facts["key_holders"] or ()) or "jobs that have just ended"
    places = "" if limit in (None, 1) else f" ({live} of {limit} run)"
    return [f"the concurrency key {key} is held by {holders}{places}"]


def _rates(facts: Mapping[str, Any]) -> list[str]:
    found = []
    for kind in ("queue", "tenant"):
        if facts[f"{kind}_next"] is not None:
            rate = Rate(facts[f"{kind}_rate"], facts[f"{kind}_period"], facts[f"{kind}_burst"])
            done = f"{rate.at_once} of {rate}" if rate.at_once == rate.starts else f"as many as its rate allows, {rate}"
            found.append(f"{kind} {facts[kind]} has started {done}; next at {facts[f'{kind}_next'].isoformat()}")
    return found


def _daemons(facts: Mapping[str, Any]) -> list[str]:
    if facts["serving"] == 0:
        return [f"no living daemon serves queue {facts['queue']}"]
    if facts["knowing"] == 0:
        return [f"job class {facts['job_class']} is unknown to the {facts['serving']} daemons of the queue"]
    if facts["with_room"] == 0:
        return ["its daemons have no room for more workspaces"]
    return ["all slots of its daemons are taken"] if facts["free"] <= 0 else []


def _places(facts: Mapping[str, Any]) -> list[str]:
    ahead = facts["ahead"]
    if ahead == 0:
        return []
    shown = f"more than {_AHEAD_SHOWN:,}" if ahead > _AHEAD_SHOWN else f"{ahead}"
    return [f"{shown} jobs of tenant {facts['tenant']} are ahead of it"]
