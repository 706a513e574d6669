"""What an operator asks and sets through the database: daemons, tenants, queues, pauses, limits, holds."""

from jobservice.client.database import ClientDatabase
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.facts import EVENT_MODES, EventMode
from jobservice.domain.names import is_name
from jobservice.domain.rates import Rate, parse
from jobservice.lifecycle.class_holds import ClassHolds, HeldClass
from jobservice.lifecycle.limits import AGING_MAX, AGING_MIN, NO_AGING, NO_LIMIT, NO_RATE, Limits
from jobservice.store.overview import DaemonRow, OutboxState, Overview, QueueRow, TenantLimitRow, TenantRow

_KEY_MAX = 255
OFF = "off"
"""As a rate: takes it away."""


class Operations:
    """The installation, seen and set by its operator. Every method needs the database."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._overview = Overview(schema)
        self._limits = Limits(schema=schema)
        self._holds = ClassHolds(schema=schema)

    async def daemons(self, *, ended: bool = False) -> list[DaemonRow]:
        """Living daemons; `ended` adds the lost and the stopped."""
        async with self._database.use() as connection:
            return await self._overview.daemons(connection, ended=ended)

    async def tenants(self) -> list[TenantRow]:
        """Tenants with settings, or with jobs that wait or run."""
        async with self._database.use() as connection:
            return await self._overview.tenants(connection)

    async def queues(self) -> list[QueueRow]:
        """Queues with settings, a daemon, or jobs that wait or run."""
        async with self._database.use() as connection:
            return await self._overview.queues(connection)

    async def tenant_limits(self, tenant: str) -> list[TenantLimitRow]:
        """A tenant's limits and weights on queues, and its concurrency keys."""
        async with self._database.use() as connection:
            return await self._overview.tenant_limits(connection, tenant)

    async def event_modes(self) -> dict[str, EventMode]:
        """What each queue publishes that does not publish all."""
        async with self._database.use() as connection:
            return await self._overview.event_modes(connection)

    async def is_tenant(self, tenant: str) -> bool:
        """Whether anything is known of this tenant."""
        async with self._database.use() as connection:
            return await self._overview.is_tenant(connection, tenant)

    async def is_queue(self, queue: str) -> bool:
        """Whether anything is known of this queue."""
        async with self._database.use() as connection:
            return await self._overview.is_queue(connection, queue)

    async def live_of(self, tenant: str) -> int:
        """How many jobs of a tenant are claimed or running."""
        async with self._database.use() as connection:
            return await self._overview.live_of(connection, tenant)

    async def outbox(self) -> OutboxState:
        """What waits to be published."""
        async with self._database.use() as connection:
            return await self._overview.outbox(connection)

    async def pause_tenant(self, tenant: str) -> None:
        """Start no more jobs of this tenant; running ones go on."""
        await self._pause_tenant(tenant, paused=True)

    async def resume_tenant(self, tenant: str) -> None:
        """Start jobs of this tenant again."""
        await self._pause_tenant(tenant, paused=False)

    async def limit_tenant(
        self,
        tenant: str,
        *,
        max_running: int | None = None,
        unlimited: bool = False,
        weight: float | None = None,
        queue: str | None = None,
        rate: str | None = None,
        burst: int | None = None,
    ) -> None:
        """Set limits and a weight, on one queue or on all; None leaves as it is, `unlimited` takes `max_running` away.

        `rate` is how many may start in which time on all queues together, such as `100/min`, or `off`; `burst`, how
        many of them right after each other (all, where it is not given).
        """
        limit = NO_LIMIT if unlimited else max_running
        parsed = _rate(rate, burst)
        _check(tenant=tenant)
        if queue is None:
            async with self._database.use() as connection:
                await self._limits.set_tenant(connection, tenant, max_running=limit, weight=weight, rate=parsed)
            return
        _check(queue=queue)
        if parsed is not None:
            raise InvalidSubmission("a tenant's rate is one over all queues: leave the queue out", field="rate")
        async with self._database.use() as connection:
            await self._limits.set_share(connection, queue, tenant, max_running=limit, weight=weight)

    async def pause_queue(self, queue: str) -> None:
        """Start no more jobs of this queue; running ones go on."""
        await self._pause_queue(queue, paused=True)

    async def resume_queue(self, queue: str) -> None:
        """Start jobs of this queue again."""
        await self._pause_queue(queue, paused=False)

    async def hold_class(self, job_class: str, reason: str | None = None) -> bool:
        """Start no more jobs of a class, `*` for all; running ones go on. False where it is held already.

        A class that nobody knows yet may be held in advance. Once this returns, no claim takes a job of the class.
        """
        async with self._database.use() as connection:
            return await self._holds.hold(connection, job_class, reason=reason)

    async def release_class(self, job_class: str) -> bool:
        """Start jobs of a held class again; `*` undoes a hold with `*`. False where it was not held."""
        async with self._database.use() as connection:
            return await self._holds.release(connection, job_class)

    async def held_classes(self) -> list[HeldClass]:
        """What is held, since when and why: `*` first, then by name."""
        async with self._database.use() as connection:
            return await self._holds.held(connection)

    async def limit_key(self, tenant: str, key: str, *, max_running: int) -> None:
        """Set how many jobs of a tenant's concurrency key run at a time, on all queues together; 1 is the default."""
        _check(tenant=tenant)
        if not 1 <= len(key) <= _KEY_MAX:
            raise InvalidSubmission(f"a concurrency key has 1 to {_KEY_MAX} characters", field="concurrency_key")
        async with self._database.use() as connection:
            await self._limits.set_key(connection, tenant, key, max_running=max_running)

    async def limit_queue(
        self,
        queue: str,
        *,
        max_running: int | None = None,
        unlimited: bool = False,
        rate: str | None = None,
        burst: int | None = None,
        events: EventMode | None = None,
        aging: float | None = None,
    ) -> None:
        """Set how many of its jobs run at once, how many start in which time, and what it publishes.

        `aging`: in how many seconds waiting raises a job's priority. None leaves as it is; `unlimited` takes
        `max_running` away, a `rate` of `off` the rate, an `aging` of 0 the aging.
        """
        parsed = _rate(rate, burst)
        _check(queue=queue)
        if events is not None and events not in EVENT_MODES:
            raise InvalidSubmission(f"events must be one of {', '.join(EVENT_MODES)}", field="events")
        if aging is not None and aging != NO_AGING and not AGING_MIN <= aging <= AGING_MAX:
            raise InvalidSubmission(f"aging must be 0 or from {AGING_MIN} to {AGING_MAX:,} seconds", field="aging")
        limit = NO_LIMIT if unlimited else max_running
        async with self._database.use() as connection:
            await self._limits.set_queue(connection, queue, max_running=limit, rate=parsed, events=events, aging=aging)

    async def _pause_tenant(self, tenant: str, *, paused: bool) -> None:
        _check(tenant=tenant)
        async with self._database.use() as connection:
            await self._limits.set_tenant(connection, tenant, paused=paused)

    async def _pause_queue(self, queue: str, *, paused: bool) -> None:
        _check(queue=queue)
        async with self._database.use() as connection:
            await self._limits.set_queue(connection, queue, paused=paused)


def _rate(text: str | None, burst: int | None) -> Rate | None:
    if text is None:
        if burst is not None:
            raise InvalidSubmission("a burst goes with a rate: give both", field="burst")
        return None
    if text == OFF:
        return NO_RATE
    try:
        return parse(text, burst)
    except ValueError as error:
        raise InvalidSubmission(f"rate {text!r}: {error}", field="rate") from None


def _check(**names: str) -> None:
    for field, name in names.items():
        if not is_name(name):
            raise InvalidSubmission(
                f"{field} {name!r} is not a name: letters, digits, - and _, at most 64", field=field
            )
