"""What several workers say of their readiness, told as one daemon would tell it. Pure.

Ready is: each has worked once, and at least one is ready now. So a rolling deployment waits until the whole of a new
one works, and the restart of one worker takes nothing out of service that still does its work.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]

# What stands over an alarm for one daemon stands over the same alarm for several: the worst of them, or all together.
_COMBINED: dict[str, Callable[[list[Any]], Any]] = {
    "loop_lag_seconds": max,
    "database": all,
    "database_error": lambda texts: texts[0],
    "broker": all,
    "broker_blocked": any,
    "running": sum,
    "stuck": sum,
    "capacity": sum,
    "uncommitted": sum,
    "stale_reports": sum,
    "claim_age_seconds": max,
    "heartbeat_age_seconds": max,
    "outbox_age_seconds": max,
    "outbox_behind": any,
    "queued": max,  # each looks at the same queues
    "oldest_queued_seconds": max,
    "rejected": max,
    "workspace_used_percent": max,
    "workspace_full": any,
    "workspace_tenants_over": lambda lists: sorted({tenant for tenants in lists for tenant in tenants}),
}


def combined(workers: Sequence[Facts], *, all_have_started: bool, draining: bool) -> tuple[bool, dict[str, Any]]:
    """The verdict, and the facts: those of a single daemon, and under `workers` each one's own."""
    ready = sum(bool(worker["ok"]) for worker in workers)
    facts: dict[str, Any] = {"draining": draining, "processes": len(workers), "ready": ready}
    for name, combine in _COMBINED.items():
        told = [worker[name] for worker in workers if worker.get(name) is not None]
        facts[name] = combine(told) if told else None
    return all_have_started and ready > 0 and not draining, {**facts, "workers": [dict(worker) for worker in workers]}
