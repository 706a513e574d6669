"""What `doctor` looks at, one function for each thing. Each gives findings and raises nothing that a user can cause."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from jobservice.broker.exchange import exchange_exists
from jobservice.broker.names import BrokerNames
from jobservice.broker.queue_size import queue_size
from jobservice.broker.topology import SUBSCRIPTION_MAX_LENGTH
from jobservice.client.broker import ClientBroker
from jobservice.client.database import ClientDatabase
from jobservice.config import Settings
from jobservice.domain.errors import JobServiceError
from jobservice.lifecycle.class_holds import ALL_CLASSES, ClassHolds
from jobservice.pool.room import room_at
from jobservice.schedules.table import ScheduleTable
from jobservice.sdk.registry import Registry
from jobservice.store import schema as stored
from jobservice.store.overview import Overview

_OLDEST_POSTGRES = 150_000
_OUTBOX_LATE = 60.0
_RIGHTS = {
    "job_info": "SELECT, INSERT, UPDATE, DELETE",
    "outbox": "SELECT, INSERT, DELETE",
    "schedule": "SELECT, INSERT, UPDATE",
    "waiting_tick": "SELECT, INSERT, DELETE",
    "pipeline": "SELECT, INSERT, UPDATE, DELETE",
    "stage": "SELECT, INSERT, UPDATE, DELETE",
    "pipeline_outbox": "SELECT, INSERT, DELETE",
    "daemon": "SELECT, INSERT, UPDATE",
    "tenant": "SELECT, INSERT, UPDATE",
    "class_hold": "SELECT, INSERT, UPDATE, DELETE",
    "doubtful_hold": "SELECT, INSERT, DELETE",
    "queue": "SELECT, INSERT, UPDATE",
    "tenant_call": "SELECT, INSERT, DELETE",
    "tenant_account": "SELECT, INSERT, UPDATE",
    "claim_bound": "SELECT, INSERT, UPDATE",
    "claim_turn": "UPDATE",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `well` None: nothing wrong, but worth knowing."""

    what: str
    well: bool | None
    finding: str
    advice: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order in which things depend on each other."""
    findings = [_job_classes(settings), _workspaces(settings)]
    findings += [finding async for finding in _database(settings)]
    findings += [finding async for finding in _broker(settings)]
    return findings


def _job_classes(settings: Settings) -> Finding:
    what = "job classes"
    try:
        registry = Registry.load(settings.jobs.packages)
    except JobServiceError as error:
        return Finding(what, False, str(error), "correct jobs.packages, or the package that it names")
    if not registry.names:
        return Finding(what, None, "no package is named", "a daemon here would run nothing: set jobs.packages")
    return Finding(what, True, ", ".join(registry.names))


def _workspaces(settings: Settings) -> Finding:
    """The disk of this machine; what each daemon finds on its own is told with the daemons."""
    what, section = "workspaces", settings.workspace
    try:
        room = room_at(section.directory)
    except OSError as error:
        return Finding(what, False, f"{section.directory}: {error.strerror}", "correct workspace.directory")
    text = f"{room.used_percent:.0f} % of the disk at {section.directory} is used"
    advice = "make room, or set workspace.directory to a larger disk"
    if section.pause_percent and room.used_percent >= section.pause_percent:
        return Finding(what, False, f"{text}: daemons here claim no job that needs a workspace", advice)
    if section.warn_percent and room.used_percent >= section.warn_percent:
        return Finding(what, None, text, advice)
    return Finding(what, True, text)


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    if settings.database_url is None:
        yield Finding("database", False, "no database_url", "set JOBSERVICE_DATABASE_URL; `jobservice up` has one")
        return
    database = ClientDatabase(url=settings.database_url, statement_cache=settings.database.statement_cache)
    schema = settings.database.schema_name
    try:
        async with database.use() as connection:
            yield _postgres(connection)
            yield await _pooler(connection)
            state = await stored.check(connection, schema)
            yield Finding("schema", state.current, state.describe(), "" if state.current else "jobservice schema apply")
            if not state.current:
                return
            yield await _rights(connection, schema)
            for look in (_daemons, _queues, _outbox):
                yield await look(connection, Overview(schema))
            yield await _holds(connection, ClassHolds(schema=schema))
            yield await _schedules(connection, ScheduleTable(schema=schema))
    except JobServiceError as error:
        yield Finding("database", False, str(error), "check database_url, and that PostgreSQL runs there")
    finally:
        await database.close()


def _postgres(connection: asyncpg.Connection) -> Finding:
    version = connection.get_server_version()
    # Two numbers since version 10: the driver keeps a 0 in the place of the old second one.
    text = f"PostgreSQL {version.major}.{version.micro}"
    old = version.major * 10_000 < _OLDEST_POSTGRES
    return Finding("database", not old, text, "PostgreSQL 15 or newer is needed" if old else "")


async def _pooler(connection: asyncpg.Connection) -> Finding:
    # A pooler answers the handshake itself, with a process number of its own.
    direct = await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
    if direct:
        return Finding("sessions", True, "direct connections")
    return Finding(
        "sessions",
        False,
        "there is a pooler between here and PostgreSQL",
        "clients may use it (database.statement_cache = false); a daemon needs PostgreSQL's own address",
    )


async def _rights(connection: asyncpg.Connection, schema: str) -> Finding:
    missing = [
        f"{right} on {schema}.{table}"
        for table, rights in _RIGHTS.items()
        for right in rights.split(", ")
        if not await connection.fetchval("SELECT has_table_privilege($1::text, $2::text)", f"{schema}.{table}", right)
    ]
    user = await connection.fetchval("SELECT current_user")
    if missing:
        return Finding("rights", False, f"{user} lacks {', '.join(missing)}", f"GRANT them to {user}")
    return Finding("rights", True, f"{user} may do all that a daemon does")


async def _daemons(connection: asyncpg.Connection, overview: Overview) -> Finding:
    found = await overview.daemons(connection)
    if not found:
        return Finding("daemons", None, "none is alive", "start one: jobservice daemon")
    full = [daemon for daemon in found if daemon.withheld_classes]
    running = f"{sum(daemon.running for daemon in found)} of {sum(daemon.capacity for daemon in found)} slots in use"
    stuck = [daemon for daemon in found if daemon.stuck]
    if stuck:
        where = ", ".join(f"{daemon.stuck} in {daemon.id} on {daemon.host}" for daemon in stuck)
        advice = "mend job classes that ignore a stop or a timeout; a restart of the daemon ends such runs"
        return Finding("daemons", False, f"{len(found)} alive, {running}; runs that do not end: {where}", advice)
    if full:
        where = ", ".join(f"{daemon.id} on {daemon.host} ({', '.join(daemon.withheld_classes)})" for daemon in full)
        advice = "make room on the disk of workspace.directory there, or set workspace.pause_percent higher"
        return Finding("daemons", False, f"{len(found)} alive, {running}; no room for workspaces: {where}", advice)
    return Finding("daemons", True, f"{len(found)} alive, {running}")


async def _queues(connection: asyncpg.Connection, overview: Overview) -> Finding:
    left = [row for row in await overview.queues(connection) if row.queued and not row.daemons]
    if not left:
        return Finding("queues", True, "each one with queued jobs is served")
    text = ", ".join(f"{row.queue} ({row.queued} jobs)" for row in left)
    return Finding("queues", False, f"nobody serves {text}", "start a daemon with --queue, or stop those jobs")


async def _holds(connection: asyncpg.Connection, holds: ClassHolds) -> Finding:
    held = await holds.held(connection)
    if not held:
        return Finding("class holds", True, "no job class is held")
    words = [
        ("all job classes" if each.job_class == ALL_CLASSES else each.job_class)
        + (f" ({each.reason})" if each.reason else "")
        for each in held
    ]
    return Finding("class holds", None, f"held: {', '.join(words)}", "jobservice release CLASS, or --all")


async def _outbox(connection: asyncpg.Connection, overview: Overview) -> Finding:
    state = await overview.outbox(connection)
    text = f"{state.rows} transactions wait to be published"
    if state.oldest is not None and state.oldest > _OUTBOX_LATE:
        return Finding(
            "events", False, f"{text}, the oldest for {state.oldest:.0f} s", "is a daemon alive, the broker there?"
        )
    if state.rejected:
        return Finding(
            "events",
            False,
            f"{state.rejected} rows could not be decoded",
            "look at outbox_rejected, pipeline_outbox_rejected",
        )
    return Finding("events", True, text)


async def _schedules(connection: asyncpg.Connection, table: ScheduleTable) -> Finding:
    found = await table.find(connection)
    troubled = {f"{each.tenant}/{each.name}": "; ".join(each.troubles) for each in found if each.troubles}
    if troubled:
        text = ", ".join(f"{name} ({trouble})" for name, trouble in troubled.items())
        return Finding("schedules", False, text, "jobservice schedule show NAME; mend, resume or remove it")
    paused = sum(each.paused for each in found)
    return Finding("schedules", True, f"{len(found)}" + (f", {paused} of them paused" if paused else ""))


async def _broker(settings: Settings) -> AsyncIterator[Finding]:
    if settings.amqp_url is None:
        yield Finding("broker", False, "no amqp_url", "set JOBSERVICE_AMQP_URL; `jobservice up` has one")
        return
    broker = ClientBroker(url=settings.amqp_url, prefix=settings.broker.prefix)
    try:
        link = await broker.consuming()
        yield Finding("broker", True, "RabbitMQ is reachable")
        yield await _exchanges(broker)
        yield await _shared_queues(broker)
        if link.connected and settings.database_url is not None:
            async for finding in _subscriptions(settings, broker):
                yield finding
    except JobServiceError as error:
        yield Finding("broker", False, str(error), "check amqp_url, and that RabbitMQ runs there")
    finally:
        await broker.close()


async def _exchanges(broker: ClientBroker) -> Finding:
    names = broker.names
    missing = []
    for exchange in (names.events, names.pipelines, names.submit, names.command):
        channel = await (await broker.consuming()).open_channel()
        if not await exchange_exists(channel, exchange):
            missing.append(exchange)
        if not channel.is_closed:
            await channel.close()
    what = "exchanges of the broker"
    if missing:
        return Finding(
            what, None, f"{', '.join(missing)} not there", "a daemon of this version makes them at its start"
        )
    return Finding(what, True, "all there")


async def _shared_queues(broker: ClientBroker) -> Finding:
    names: BrokerNames = broker.names
    sizes = {name: await _size(broker, name) for name in (names.submissions, names.control, names.rejected)}
    missing = [name for name, size in sizes.items() if size is None]
    if missing:
        return Finding(
            "queues of the broker", None, f"{', '.join(missing)} not there", "a daemon makes them at its start"
        )
    refused = sizes[names.rejected]
    if refused:
        return Finding("rejected", None, f"{refused} messages were refused", "jobservice rejected list")
    return Finding("queues of the broker", True, f"all there; {sizes[names.submissions]} submissions wait")


async def _subscriptions(settings: Settings, broker: ClientBroker) -> AsyncIterator[Finding]:
    assert settings.database_url is not None
    database = ClientDatabase(url=settings.database_url, statement_cache=settings.database.statement_cache)
    try:
        async with database.use() as connection:
            rows = await Overview(settings.database.schema_name).subscriptions(connection)
        for row in rows:
            waiting = await _size(broker, broker.names.noted_subscription(row.name))
            if waiting is not None and waiting >= SUBSCRIPTION_MAX_LENGTH:
                yield Finding(
                    f"subscription {row.name}",
                    False,
                    "it is full: the oldest events are dropped",
                    "read it, or delete it",
                )
    except JobServiceError as error:
        yield Finding("subscriptions", None, f"not looked at: {error}")
    finally:
        await database.close()


async def _size(broker: ClientBroker, queue: str) -> int | None:
    channel = await (await broker.consuming()).open_channel()
    try:
        messages, _ = await queue_size(channel, queue)
        return messages
    finally:
        if not channel.is_closed:
            await channel.close()
