"""Pauses, limits, rates, aging, holds of classes, drains, as messages: what an operator sets of the installation."""

import json
from functools import partial
from uuid import uuid4

import asyncpg
from commanding import Ask, Drains
from doors import eventually


async def test_a_tenant_pauses_itself_and_the_operator_any(ask: Ask, connection: asyncpg.Connection) -> None:
    paused = partial(connection.fetchval, "SELECT paused FROM jobservice.tenant WHERE tenant = $1")

    assert await ask("acme", {"command": "pause_tenant"}) == {"results": []}
    await ask("_operator", {"command": "pause_tenant", "tenant": "other"})
    assert (await paused("acme"), await paused("other")) == (True, True)

    await ask("_operator", {"command": "resume_tenant", "tenant": "acme"})
    assert await paused("acme") is False


async def test_the_operator_pauses_queues_and_sets_limits_and_null_takes_them_away(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    await ask("_operator", {"command": "pause_queue", "queue": "slow"})
    await ask("_operator", {"command": "set_limit", "queue": "slow", "max_running": 3})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "max_running": 5, "weight": 2.5})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "queue": "slow", "max_running": 1, "weight": 4})

    read = (
        "SELECT q.paused, q.max_running, t.max_running, t.weight, s.max_running, s.weight "
        "FROM jobservice.queue q, jobservice.tenant t, jobservice.tenant_share s"
    )
    assert tuple(await connection.fetchrow(read)) == (True, 3, 5, 2.5, 1, 4)

    await ask("_operator", {"command": "resume_queue", "queue": "slow"})
    await ask("_operator", {"command": "set_limit", "queue": "slow", "max_running": None})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "max_running": None})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "queue": "slow", "weight": None})
    assert tuple(await connection.fetchrow(read)) == (False, None, None, 2.5, 1, None)


async def test_the_operator_sets_rates_events_and_the_places_of_a_key_and_null_takes_them_away(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    read = (
        "SELECT q.rate, q.rate_period, q.rate_burst, q.events, t.rate, t.rate_period, t.rate_burst, k.max_running "
        "FROM jobservice.queue q, jobservice.tenant t, jobservice.concurrency_key k"
    )

    key = {"command": "set_limit", "tenant": "acme", "concurrency_key": "disk"}
    await ask("_operator", {"command": "set_limit", "queue": "slow", "rate": "100/min", "burst": 5, "events": "final"})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "rate": "5/h"})
    await ask("_operator", key | {"max_running": 3})
    set_first = tuple(await connection.fetchrow(read))
    await ask("_operator", {"command": "set_limit", "queue": "slow", "max_running": 1})
    left_alone = tuple(await connection.fetchrow(read))
    await ask("_operator", {"command": "set_limit", "queue": "slow", "rate": None, "events": None})
    await ask("_operator", {"command": "set_limit", "tenant": "acme", "rate": None})
    await ask("_operator", key | {"max_running": None})

    assert set_first == left_alone == (100, 60, 5, "final", 5, 3600, None, 3)
    assert tuple(await connection.fetchrow(read)) == (None, 1, None, "all", None, 1, None, 1)


async def test_the_operator_sets_the_aging_of_a_queue_and_takes_it_away(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    read = partial(connection.fetchval, "SELECT period FROM jobservice.aging WHERE queue = 'slow'")

    await ask("_operator", {"command": "set_limit", "queue": "slow", "aging": 600})
    set_first = await read()
    await ask("_operator", {"command": "set_limit", "queue": "slow", "max_running": 1})
    left_alone = await read()
    await ask("_operator", {"command": "set_limit", "queue": "slow", "aging": None})

    assert (set_first, left_alone, await read()) == (600, 600, None)


async def test_the_operator_holds_and_releases_job_classes(ask: Ask, connection: asyncpg.Connection) -> None:
    hold, release = {"command": "hold_class", "job_class": "Nap"}, {"command": "release_class", "job_class": "Nap"}
    read = partial(connection.fetch, "SELECT job_class, reason FROM jobservice.class_hold ORDER BY job_class")

    answers = [await ask("_operator", hold | {"reason": "broken"}) for _ in range(2)]
    answers.append(await ask("_operator", {"command": "hold_class", "job_class": "*"}))
    held = [tuple(row) for row in await read()]
    answers += [await ask("_operator", release) for _ in range(2)]

    assert answers == [{"results": []}] * 5
    assert held == [("*", None), ("Nap", "broken")]
    assert [row["job_class"] for row in await read()] == ["*"]


async def test_a_drain_tells_this_daemon_and_by_notify_all_others(
    ask: Ask, connection: asyncpg.Connection, drains: Drains
) -> None:
    heard: list[str] = []
    await connection.add_listener("jobservice_drain", lambda *told: heard.append(told[3]))
    daemon = await connection.fetchval(
        "INSERT INTO jobservice.daemon (id, host, pid, version, queues, job_classes, capacity) "
        "VALUES (gen_random_uuid(), 'h', 1, '0', '{}', '{}', 1) RETURNING id"
    )

    await ask("_operator", {"command": "drain"})
    await ask("_operator", {"command": "drain", "daemon_id": str(daemon)})
    unknown = await ask("_operator", {"command": "drain", "daemon_id": str(uuid4())})

    await eventually(lambda: len(heard) == 2)
    assert (heard, drains.told) == (["", str(daemon)], [None, daemon])
    assert unknown["error"]["code"] == "refused"


async def test_a_subscription_is_noted_once_and_a_tenants_only_for_its_own_events(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    wanted = {"tenant": "acme", "statuses": ["FAILED"]}

    await ask("acme", {"command": "register_subscription", "name": "billing", "filter": wanted})
    await ask("_operator", {"command": "register_subscription", "name": "billing", "filter": {}})
    for filter_ in ({}, {"tenant": "other"}):
        refused = await ask("acme", {"command": "register_subscription", "name": "spy", "filter": filter_})
        assert refused["error"]["details"] == {"field": "filter.tenant"}

    rows = await connection.fetch("SELECT name, filter::text FROM jobservice.subscription")
    assert [(found["name"], json.loads(found["filter"])) for found in rows] == [("billing", wanted)]
