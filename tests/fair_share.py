"""Situations for the claim: tenants on one queue as the tables describe them, and what the rule makes of them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from jobservice.domain.fair_share import Party, QueuedJob, lift, share_out


@dataclass(frozen=True)
class Waiting:
    """A queued job. `number` is its place in the order of submission; `held`: somebody has locked its row."""

    number: int
    priority: int = 0
    job_class: str = "Nap"
    key: str | None = None
    held: bool = False


@dataclass(frozen=True)
class Tenant:
    """A tenant on the queue. `age` is how long ago each of its live jobs was claimed, in seconds.

    So many of the live ones have `ended` at their daemon, which has not written it yet.
    """

    name: str
    weight: float = 1
    live: int = 0
    ended: int = 0
    age: float = 0
    charged: float = 0
    active: bool = True
    paused: bool = False
    here_max: int | None = None
    over_all_max: int | None = None
    waiting: Sequence[Waiting] = field(default_factory=tuple)

    @property
    def room(self) -> int:
        limits = [limit for limit in (self.here_max, self.over_all_max) if limit is not None]
        return 0 if self.paused else max(0, min([10**6, *(limit - self.live for limit in limits)]))

    def offers(self, skipped: Sequence[str]) -> list[QueuedJob]:
        """The jobs that may run: of a class that is not skipped, not held, and the first of their keys."""
        used: defaultdict[str | None, int] = defaultdict(int)
        offered = []
        for job in sorted(self.waiting, key=lambda job: (-job.priority, job.number)):
            if job.job_class in skipped or job.held or (job.key is not None and used[job.key] >= 1):
                continue
            used[job.key] += 1
            offered.append(QueuedJob(job.number, job.priority))
        return offered

    def party(self, skipped: Sequence[str]) -> Party:
        return Party(
            tenant=self.name, weight=self.weight, live=self.live - self.ended, charged=self.charged,
            running=(self.live - self.ended) * self.age, room=self.room, active=self.active, waits=bool(self.waiting),
            backlog=self.offers(skipped),
        )  # fmt: skip


def parties(tenants: Iterable[Tenant], skipped: Sequence[str]) -> list[Party]:
    """The parties of a claim: tenants with something queued or live."""
    return [tenant.party(skipped) for tenant in tenants if tenant.waiting or tenant.live]


def lifted(tenants: Iterable[Tenant]) -> list[Party]:
    """Those that take part in a claim, as it charges them."""
    return [party for party in lift(parties(tenants, [])) if party.takes_part]


def chosen(tenants: Iterable[Tenant], *, slots: int, queue_max: int | None, skipped: Sequence[str]) -> list[int]:
    """The numbers of the jobs that a claim takes, in the order of the rule."""
    tenants = list(tenants)
    free = slots if queue_max is None else min(slots, queue_max - sum(tenant.live for tenant in tenants))
    return [job.number for _, job in share_out(parties(tenants, skipped), free=max(0, free))]


def after_claim(tenants: Iterable[Tenant], numbers: Collection[int]) -> list[Tenant]:
    """What the claim that took these jobs has left behind."""
    tenants = list(tenants)
    charged = {party.tenant: party.charged for party in lifted(tenants)}
    left = []
    for tenant in tenants:
        waiting = tuple(job for job in tenant.waiting if job.number not in numbers)
        won = len(tenant.waiting) - len(waiting)
        left.append(
            replace(
                tenant,
                live=tenant.live + won,
                charged=charged.get(tenant.name, tenant.charged) - won * tenant.age,  # those that it won are new
                active=tenant.name in charged,
                waiting=waiting,
            )
        )
    return left
