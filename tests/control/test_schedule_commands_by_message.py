"""Commands on schedules as messages of a foreign client: each tenant its own, refusals say why."""

from typing import Any

import asyncpg
import pytest
from commanding import Ask
from doors import Foreign

JOB = {"job_class": "Nap", "parameters": {"day": "{fire_date:%Y-%m-%d}"}}
ADD = {"command": "add_schedule", "schedule": "nightly", "job": JOB, "cron": "30 2 * * *"}


async def row(connection: asyncpg.Connection) -> Any:
    return await connection.fetchrow("SELECT * FROM jobservice.schedule")


def on(command: str, **more: Any) -> dict[str, Any]:
    return {"command": f"{command}_schedule", "schedule": "nightly", **more}


async def test_a_schedule_is_added_paused_resumed_run_and_removed_by_messages(
    ask: Ask, connection: asyncpg.Connection, foreign: Foreign
) -> None:
    (added,) = (await ask("acme", ADD | {"time_zone": "Europe/Berlin", "overlap": "skip"}))["results"]
    stored = await row(connection)
    (paused,) = (await ask("acme", on("pause")))["results"]
    (resumed,) = (await ask("acme", on("resume")))["results"]
    (run,) = (await ask("acme", on("run")))["results"]
    (removed,) = (await ask("acme", on("remove")))["results"]

    assert (stored["tenant"], stored["cron"], stored["time_zone"], stored["overlap"], stored["source"]) == (
        "acme", "30 2 * * *", "Europe/Berlin", "skip", "user",
    )  # fmt: skip
    date = stored["next_fire_date"].isoformat()
    told = {"schedule": "nightly", "paused": False, "next_fire_date": date, "accepted": True, "code": None}
    assert added == resumed == told
    assert paused == told | {"paused": True, "next_fire_date": None}
    (job,) = await connection.fetch("SELECT id::text, tenant FROM jobservice.job_info")
    assert run == told | {"new_job_id": job["id"]}
    assert job["tenant"] == "acme"
    assert removed == told | {"paused": None, "next_fire_date": None}
    assert await row(connection) is None
    assert foreign.rejected() == []


async def test_a_schedule_of_a_pipeline_tells_which_one_a_run_has_made(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    pipeline = {"name": "map", "stages": [{"job_class": "Nap", "jobs": [{}]}]}

    await ask("acme", {"command": "add_schedule", "schedule": "nightly", "pipeline": pipeline, "every": 3600})
    (run,) = (await ask("acme", on("run")))["results"]

    assert run["new_pipeline_id"] == str(await connection.fetchval("SELECT id FROM jobservice.pipeline"))
    assert "new_job_id" not in run


async def test_a_run_that_waits_for_the_pipeline_before_it_says_so_and_is_counted(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    pipeline = {"name": "map", "stages": [{"job_class": "Nap", "jobs": [{}]}]}
    add = {"command": "add_schedule", "schedule": "nightly", "pipeline": pipeline, "every": 3600, "overlap": "queue"}

    await ask("acme", add)
    (first,) = (await ask("acme", on("run")))["results"]
    (second,) = (await ask("acme", on("run")))["results"]

    assert (first["new_pipeline_id"], "waiting" in first) == (str((await row(connection))["last_pipeline_id"]), False)
    assert (second["accepted"], second["waiting"], "new_pipeline_id" in second) == (True, 1, False)


@pytest.mark.parametrize("command", ["pause", "resume", "run", "remove"])
async def test_a_schedule_is_reached_by_its_tenant_and_the_operator_who_names_it_and_nobody_else(
    command: str, ask: Ask, connection: asyncpg.Connection
) -> None:
    await ask("acme", ADD)
    before = await row(connection)

    (by_other,) = (await ask("other", on(command)))["results"]
    by_operator_of_all = await ask("_operator", on(command))
    after = await row(connection)
    (by_operator,) = (await ask("_operator", on(command, tenant="acme")))["results"]

    assert by_other == {
        "schedule": "nightly", "paused": None, "next_fire_date": None, "accepted": False, "code": "unknown_schedule",
    }  # fmt: skip
    assert by_operator_of_all["error"]["details"] == {"field": "tenant"}
    assert after == before
    assert by_operator["accepted"]


async def test_a_run_that_is_sent_again_submits_once(ask: Ask, connection: asyncpg.Connection) -> None:
    await ask("acme", ADD | {"overlap": "skip"})

    first = await ask("acme", on("run"), message_id="the same")
    again = await ask("acme", on("run"), message_id="the same")
    (another,) = (await ask("acme", on("run"), message_id="another"))["results"]

    assert again == first
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 1
    assert (await row(connection))["fired"] == 1
    assert (another["accepted"], another["code"]) == (False, "not_legal")
    assert "overlap is skip" in another["reason"]


async def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(
    ask: Ask, connection: asyncpg.Connection
) -> None:
    await ask("acme", ADD)

    (taken,) = (await ask("acme", ADD | {"cron": "0 4 * * *"}))["results"]
    unchanged = (await row(connection))["cron"]
    (replaced,) = (await ask("acme", ADD | {"cron": "0 5 * * *", "replace": True}))["results"]

    assert (taken["accepted"], taken["code"]) == (False, "not_legal")
    assert unchanged == "30 2 * * *"
    assert (replaced["accepted"], (await row(connection))["cron"]) == (True, "0 5 * * *")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such minute": ({"cron": "61 * * * *"}, "cron"),
    "no such zone": ({"time_zone": "Mars/Olympus"}, "time_zone"),
    "no class": ({"job": {"parameters": {}}}, "job_class"),
    "both timings": ({"every": 5}, "cron"),
    "no name of a catch-up": ({"catch_up": "some"}, "catch_up"),
    "an unknown brace": ({"job": {"job_class": "Nap", "description": "{fire_day}"}}, "description"),
    "a member that is none": ({"crom": "* * * * *"}, "crom"),
    "no name": ({"schedule": "a.b"}, "schedule"),
    "another's tenant": ({"job": JOB | {"tenant": "other"}}, "tenant"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_no_tick_could_submit_is_refused_with_its_field(
    case: str, ask: Ask, connection: asyncpg.Connection
) -> None:
    wrong, field = BAD[case]

    answer = await ask("acme", ADD | wrong)

    assert answer["error"]["details"]["field"] == field, answer
    assert await row(connection) is None
    assert await connection.fetchval("SELECT count(*) FROM jobservice.job_info") == 0
