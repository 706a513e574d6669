"""A queue and its daemons as a discrete-event model: tenants that submit, slots that come free, claims by the rule.

Modelled besides the rule: several daemons, each claiming for the slots that it saw free some milliseconds ago; ends
that are written some milliseconds later, until when other daemons count the row as live; charges that travel with the
next claim of the daemon that had the run; lifting and leaving. Not modelled: rows locked by others, keys, lost daemons.
The choice is `jobservice.domain.fair_share`.
"""

import heapq
import random
from collections.abc import Callable, Sequence

from benchmarks.fair_loads import Delays, Load
from benchmarks.fair_outcome import Outcome
from benchmarks.fair_state import Daemon, Tenant
from jobservice.domain.fair_share import Party, lift, share_out

Tenants = dict[str, Tenant]


class Model:
    """One run. `slots` are spread over the daemons; what happens before `since` is not counted."""

    def __init__(
        self,
        loads: Sequence[Load],
        *,
        slots: int,
        until: float,
        daemons: int = 1,
        since: float = 0.0,
        seed: int = 1,
        delays: Delays,
    ) -> None:
        self._random = random.Random(seed)
        self._tenants = {load.name: Tenant(load) for load in loads}
        self._daemons = [Daemon(len(range(n, slots, daemons))) for n in range(daemons)]
        self._slots, self._since, self._until, self._delays = slots, since, until, delays
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order, self._now = 0, 0.0
        self._busy: Tenants = {}
        self._idle: dict[float, list[tuple[float, str, int]]] = {load.weight: [] for load in loads}
        self._new: Tenants = {}
        self._left: Tenants = {}
        self._weights, self._due_each, self._due_at = 0.0, 0.0, since
        self._due_begun: dict[str, float] = {}
        zero = {load.name: 0.0 for load in loads}
        self.outcome = Outcome({**zero}, {**zero}, {**zero}, {})
        for load in loads:
            self._plan(load)

    def run(self) -> Outcome:
        """Until the end."""
        while self._events and self._events[0][0] <= self._until:
            self._now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)
        self._now = self._until
        for name in list(self._due_begun):
            self._settle_due(name)
            self._count_dry(self._tenants[name])
        for _, _, what, arguments in self._events:
            if what == self._end:
                self._receive(self.outcome.held, arguments[1], arguments[2])  # type: ignore[arg-type]
            if what in (self._end, self._write):
                self._receive(self.outcome.received, arguments[1], arguments[2])  # type: ignore[arg-type]
        return self.outcome

    # What tenants do

    def _plan(self, load: Load) -> None:
        tenant = self._tenants[load.name]
        for begin, end in load.present:
            self._at(begin, self._come, tenant)
            self._at(end, self._go, tenant)
        for when in load.arrivals:
            self._at(when, self._submit, tenant)
        if load.paused:
            for when, paused in zip(load.paused, (True, False), strict=True):
                self._at(when, self._pause, tenant, paused)

    def _come(self, tenant: Tenant) -> None:
        tenant.endless = True
        tenant.dry_since = None if tenant.live else self._now
        self._count_due()
        self._weights += tenant.load.weight
        self._due_begun[tenant.load.name] = self._due_each
        self._appear(tenant)

    def _go(self, tenant: Tenant) -> None:
        self._count_dry(tenant)
        tenant.endless = False
        self._settle_due(tenant.load.name)
        self._weights -= tenant.load.weight
        self._may_leave(tenant)

    def _submit(self, tenant: Tenant) -> None:
        tenant.queued.append(self._now)
        self._appear(tenant)

    def _pause(self, tenant: Tenant, paused: bool) -> None:
        tenant.paused = paused
        if paused:
            tenant.dry_since = None
        else:
            tenant.dry_since = None if tenant.live else self._now
            tenant.active = False
            self._appear(tenant)

    def _appear(self, tenant: Tenant) -> None:
        self._left.pop(tenant.load.name, None)
        if not tenant.active:
            self._new[tenant.load.name] = tenant
        elif not tenant.live:
            self._push(tenant)
        for daemon in self._daemons:
            self._ask_soon(daemon, 0.0)

    def _may_leave(self, tenant: Tenant) -> None:
        if not tenant.live and not tenant.waits:
            self._left[tenant.load.name] = tenant

    def _push(self, tenant: Tenant) -> None:
        tenant.version += 1
        spent = tenant.charged / tenant.load.weight
        heapq.heappush(self._idle[tenant.load.weight], (spent, tenant.load.name, tenant.version))

    # What is due and what is received

    def _count_due(self) -> None:
        if self._now > self._due_at:
            if self._weights > 0:
                self._due_each += (self._now - self._due_at) * self._slots / self._weights
            self._due_at = self._now

    def _settle_due(self, name: str) -> None:
        self._count_due()
        self.outcome.due[name] += (self._due_each - self._due_begun.pop(name)) * self._tenants[name].load.weight

    def _receive(self, account: dict[str, float], tenant: Tenant, begin: float) -> None:
        for come, go in tenant.load.present:
            account[tenant.load.name] += max(0.0, min(self._now, go) - max(begin, come, self._since))

    def _count_dry(self, tenant: Tenant) -> None:
        if tenant.dry_since is not None and tenant.endless:
            name = tenant.load.name
            self.outcome.dry[name] = max(self.outcome.dry.get(name, 0.0), self._now - tenant.dry_since)
        tenant.dry_since = None

    # What daemons do

    def _ask_soon(self, daemon: Daemon, after: float) -> None:
        if daemon.free > 0 and not daemon.asking:
            daemon.asking = True
            self._at(self._now + self._random.uniform(0, after), self._ask, daemon)

    def _ask(self, daemon: Daemon) -> None:
        self._at(self._now + self._random.uniform(0, self._delays.turnstile), self._claim, daemon, daemon.free)

    def _claim(self, daemon: Daemon, free: int) -> None:
        daemon.asking = False
        for name, seconds in daemon.charges.items():
            tenant = self._tenants[name]
            tenant.charged += seconds
            if tenant.active and not tenant.live and tenant.waits:
                self._push(tenant)
        daemon.charges = {}
        for tenant in self._left.values():
            tenant.active = False
        self._left = {}
        parties = self._parties(free, daemon.unwritten)
        for name, _ in (given := share_out(parties, free=free)):
            self._start(daemon, self._tenants[name])
        for party in parties:
            tenant = self._tenants[party.tenant]
            if not tenant.live and tenant.waits and not tenant.paused:
                self._push(tenant)
        if daemon.free > 0 and len(given) == free:
            self._ask_soon(daemon, self._delays.gather)

    def _parties(self, free: int, ended: dict[str, list[float]]) -> list[Party]:
        """All that can win or set the floor: those with slots, those that are new, and the first of each weight."""
        found = [tenant.party(self._now, free, ended.get(name, ())) for name, tenant in self._busy.items()]
        for heap in self._idle.values():
            taken = 0
            while heap and taken < free:
                _, name, version = heapq.heappop(heap)
                tenant = self._tenants[name]
                if version == tenant.version and tenant.waits and not tenant.live and not tenant.paused:
                    found.append(tenant.party(self._now, free))
                    taken += 1
        new = {name for name, tenant in self._new.items() if tenant.waits}
        found = [party for party in found if party.tenant not in new]
        found += [self._new[name].party(self._now, free) for name in new]
        self._new = {}
        lifted = lift(found)
        for party in lifted:
            if party.tenant in new:
                self._tenants[party.tenant].charged = party.charged
                self._tenants[party.tenant].active = True
        return lifted

    def _start(self, daemon: Daemon, tenant: Tenant) -> None:
        name = tenant.load.name
        if not tenant.endless:
            submitted = tenant.queued.popleft()
            self.outcome.waits.setdefault(name, []).append(self._now - submitted)
        self._count_dry(tenant)
        tenant.live += 1
        tenant.claims += self._now
        self._busy[name] = tenant
        daemon.free -= 1
        self.outcome.runs += 1
        self._at(self._now + tenant.load.lengths(self._random), self._end, daemon, tenant, self._now)

    def _end(self, daemon: Daemon, tenant: Tenant, begun: float) -> None:
        self._receive(self.outcome.held, tenant, begun)
        name = tenant.load.name
        self._charge(daemon, name, begun)
        daemon.free += 1
        daemon.unwritten.setdefault(name, []).append(begun)
        self._at(self._now + self._random.uniform(0, self._delays.flush), self._write, daemon, tenant, begun, self._now)
        self._ask_soon(daemon, self._delays.gather)

    def _write(self, daemon: Daemon, tenant: Tenant, begun: float, ended: float) -> None:
        daemon.unwritten[tenant.load.name].remove(begun)
        self._receive(self.outcome.received, tenant, begun)
        self._charge(daemon, tenant.load.name, ended)
        tenant.live -= 1
        tenant.claims -= begun
        if not tenant.live:
            tenant.claims = 0.0
            tenant.dry_since = None if tenant.paused else self._now
            del self._busy[tenant.load.name]
            if tenant.waits and tenant.active and not tenant.paused:
                self._push(tenant)
            self._may_leave(tenant)

    def _charge(self, daemon: Daemon, name: str, since: float) -> None:
        daemon.charges[name] = daemon.charges.get(name, 0.0) + self._now - since

    def _at(self, when: float, what: Callable[..., None], *arguments: object) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, arguments))
