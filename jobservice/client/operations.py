"""What an operator asks and sets through the database: daemons, tenants, queues, pauses, limits."""

from jobservice.client.database import ClientDatabase
from jobservice.domain.errors import InvalidSubmission
from jobservice.domain.names import is_name
from jobservice.lifecycle.commands import NO_LIMIT, Commands
from jobservice.store.overview import DaemonRow, OutboxState, Overview, QueueRow, TenantRow


class Operations:
    """The installation, seen and set by its operator. Every method needs the database."""

    def __init__(self, *, database: ClientDatabase, schema: str) -> None:
        self._database = database
        self._overview = Overview(schema)
        self._commands = Commands(schema=schema)

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
        await self._set_tenant(tenant, paused=True)

    async def resume_tenant(self, tenant: str) -> None:
        """Start jobs of this tenant again."""
        await self._set_tenant(tenant, paused=False)

    async def limit_tenant(
        self,
        tenant: str,
        *,
        max_running: int | None = None,
        unlimited: bool = False,
        weight: float | None = None,
        queue: str | None = None,
    ) -> None:
        """Set a limit and a weight, on one queue or on all; None leaves as it is, `unlimited` takes the limit away."""
        limit = NO_LIMIT if unlimited else max_running
        if queue is None:
            await self._set_tenant(tenant, max_running=limit, weight=weight)
            return
        _check(tenant=tenant, queue=queue)
        async with self._database.use() as connection:
            await self._commands.set_share(connection, queue, tenant, max_running=limit, weight=weight)

    async def pause_queue(self, queue: str) -> None:
        """Start no more jobs of this queue; running ones go on."""
        await self._set_queue(queue, paused=True)

    async def resume_queue(self, queue: str) -> None:
        """Start jobs of this queue again."""
        await self._set_queue(queue, paused=False)

    async def limit_queue(self, queue: str, *, max_running: int | None) -> None:
        """Set how many of its jobs run at once; None takes the limit away."""
        await self._set_queue(queue, max_running=NO_LIMIT if max_running is None else max_running)

    async def _set_tenant(
        self, tenant: str, *, paused: bool | None = None, max_running: int | None = None, weight: float | None = None
    ) -> None:
        _check(tenant=tenant)
        async with self._database.use() as connection:
            await self._commands.set_tenant(connection, tenant, paused=paused, max_running=max_running, weight=weight)

    async def _set_queue(self, queue: str, *, paused: bool | None = None, max_running: int | None = None) -> None:
        _check(queue=queue)
        async with self._database.use() as connection:
            await self._commands.set_queue(connection, queue, paused=paused, max_running=max_running)


def _check(**names: str) -> None:
    for field, name in names.items():
        if not is_name(name):
            raise InvalidSubmission(
                f"{field} {name!r} is not a name: letters, digits, - and _, at most 64", field=field
            )
