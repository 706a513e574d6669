"""The commands about jobs on a real database: what they print where, and how they end."""

import asyncio
import json
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from command_line import Run


def submitted(run: Run, *arguments: str) -> str:
    result = run("submit", "Nap", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_submit_prints_the_id_alone(run: Run) -> None:
    result = run("submit", "Nap", "--tenant", "acme")

    assert str(UUID(result.stdout.strip())) + "\n" == result.stdout
    assert result.stderr == ""


def test_submit_passes_on_every_option(run: Run, tmp_path: Path) -> None:
    (tmp_path / "parameters.json").write_text('{"a": 1, "b": 2}')
    job_id = submitted(
        run, "--parameters", "parameters.json", "-p", "b=[3]", "--tenant", "acme", "--queue", "images",
        "--priority", "HIGH",
        "--owner", "me", "--description", "d", "--pending", "--locked", "--expires", "2h", "--timeout", "1m",
        "--max-attempts", "3", "--idempotency-key", "i", "--concurrency-key", "k", "--correlation-id", "c",
        "--metadata", "n=1",
    )  # fmt: skip

    job = json.loads(run("show", job_id, "--json").stdout)

    assert job["parameters"] == {"a": 1, "b": [3]}
    assert (job["tenant"], job["queue"], job["priority"], job["owner"]) == ("acme", "images", 100, "me")
    assert (job["description"], job["status"], job["locked"], job["timeout"]) == ("d", "PENDING", True, 60)
    assert (job["max_attempts"], job["idempotency_key"], job["concurrency_key"]) == (3, "i", "k")
    assert (job["correlation_id"], job["user_metadata"], job["expiration_date"] is None) == ("c", {"n": 1}, False)
    assert job["why_not_running"] == ["held: PENDING until somebody enqueues it"]


def test_a_refused_submission_ends_with_2_and_names_the_field(run: Run) -> None:
    result = run("submit", "Nap", "--tenant", "no.dots")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "tenant" in result.stderr


def test_show_lists_the_steps_in_their_order_and_the_rest_of_the_info_beside(run: Run, database_url: str) -> None:
    job_id = submitted(run)
    step = {"status": "done", "started": "2026-01-31T12:00:01.000000Z", "ended": None, "elapsed_ms": 5}
    first = step | {"started": "2026-01-31T12:00:00.000000Z", "ended": "2026-01-31T12:00:00.005000Z"}
    info = {"files": 7, "steps": {"b": step, "longer": first}}
    query = "UPDATE jobservice.job_info SET progress_info = $1::text::jsonb"
    asyncio.run(execute(database_url, query, json.dumps(info)))

    lines = run("show", job_id).stdout.splitlines()

    assert 'progress_info\t{"files": 7}' in lines
    steps = lines[lines.index("step\tstatus\tstarted\tended\telapsed_ms") + 1 :]
    assert [line.split("\t")[0] for line in steps[:2]] == ["longer", "b"]
    assert json.loads(run("show", job_id, "--json").stdout)["progress_info"] == info


async def execute(database_url: str, query: str, *arguments: object) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(query, *arguments)
    await connection.close()


def test_list_shows_the_newest_first_and_only_what_is_asked_for(run: Run) -> None:
    first, second = submitted(run, "--tenant", "acme"), submitted(run, "--tenant", "acme")
    submitted(run, "--tenant", "zeta")

    rows = json.loads(run("list", "--tenant", "acme", "--status", "queued", "--json").stdout)

    assert [row["job_id"] for row in rows] == [second, first]
    assert json.loads(run("list", "--class", "Other", "--json").stdout) == []


def test_an_unknown_job_ends_with_4(run: Run) -> None:
    result = run("show", str(uuid4()))

    assert (result.exit_code, result.stdout) == (4, "")


def test_a_verb_that_is_not_legal_ends_with_5_and_says_the_status(run: Run) -> None:
    job_id = submitted(run)

    result = run("enqueue", job_id)

    assert result.exit_code == 5
    assert "QUEUED" in result.stderr


def test_of_several_ids_each_is_tried_and_the_worst_is_told(run: Run) -> None:
    job_id, ended = submitted(run), submitted(run)
    run("stop", ended)

    result = run("stop", str(uuid4()), ended, job_id, "--json")

    assert result.exit_code == 5
    assert [(row["accepted"], row["code"]) for row in json.loads(result.stdout)] == [
        (False, "unknown_job"),
        (False, "not_legal"),
        (True, None),
    ]


def test_a_stopped_job_is_restarted_and_rerun_prints_the_new_id(run: Run) -> None:
    job_id = submitted(run)
    run("stop", job_id)

    new_id = run("rerun", job_id).stdout.strip()

    assert json.loads(run("show", new_id, "--json").stdout)["rerun_of"] == job_id
    assert run("restart", job_id).stdout.split() == [job_id, "QUEUED"]


def test_update_changes_priority_and_expiration(run: Run) -> None:
    job_id = submitted(run)

    assert run("update", job_id, "--priority", "VERY_HIGH", "--expires", "2030-01-31T12:00:00Z").exit_code == 0

    job = json.loads(run("show", job_id, "--json").stdout)
    assert (job["priority"], job["expiration_date"]) == (200, "2030-01-31T12:00:00.000000Z")


def test_lock_and_unlock_are_undone_by_each_other(run: Run) -> None:
    job_id = submitted(run)

    seen = []
    for verb in ("lock", "unlock"):
        assert run(verb, job_id).exit_code == 0
        seen.append(json.loads(run("show", job_id, "--json").stdout)["locked"])

    assert seen == [True, False]


def test_wait_tells_the_end_by_its_exit_status_or_124(run: Run) -> None:
    job_id = submitted(run)

    late = run("wait", job_id, "--wait-timeout", "0.05")
    run("stop", job_id)
    ended = run("wait", job_id)

    assert (late.exit_code, late.stdout) == (124, "")
    assert (ended.exit_code, ended.stdout) == (3, "ABORTED\n")


def test_a_selection_is_not_stopped_without_yes_when_there_is_nobody_to_ask(run: Run) -> None:
    job_id = submitted(run, "--tenant", "acme")

    result = run("stop", "--tenant", "acme")

    assert result.exit_code == 2
    assert job_id in result.stderr
    assert json.loads(run("show", job_id, "--json").stdout)["status"] == "QUEUED"


def test_a_selection_is_stopped_with_yes(run: Run) -> None:
    job_id = submitted(run, "--tenant", "acme")
    other = submitted(run, "--tenant", "zeta")

    result = run("stop", "--tenant", "acme", "--yes", "--json")

    assert [row["job_id"] for row in json.loads(result.stdout)] == [job_id]
    assert json.loads(run("show", other, "--json").stdout)["status"] == "QUEUED"


def test_a_tenant_is_paused_limited_and_listed(run: Run) -> None:
    submitted(run, "--tenant", "acme")

    codes = [
        run("tenant", "pause", "acme").exit_code,
        run("tenant", "limit", "acme", "--max-running", "3", "--weight", "2").exit_code,
        run("tenant", "pause", "nobody").exit_code,
    ]

    (row,) = json.loads(run("tenant", "list", "--json").stdout)
    assert codes == [0, 0, 4]
    assert (row["tenant"], row["paused"], row["max_running"], row["weight"], row["queued"]) == ("acme", True, 3, 2, 1)
    run("tenant", "limit", "acme", "--no-max-running")
    run("tenant", "resume", "acme")
    (row,) = json.loads(run("tenant", "list", "--json").stdout)
    assert (row["paused"], row["max_running"], row["weight"]) == (False, None, 2)


def test_a_queue_is_paused_limited_and_listed(run: Run) -> None:
    submitted(run, "--queue", "images")

    codes = [
        run("queue", "pause", "images").exit_code,
        run("queue", "limit", "images", "--max-running", "3").exit_code,
        run("queue", "pause", "nowhere").exit_code,
    ]

    (row,) = json.loads(run("queue", "list", "--json").stdout)
    assert codes == [0, 0, 4]
    assert (row["queue"], row["paused"], row["max_running"], row["daemons"], row["queued"]) == ("images", True, 3, 0, 1)


def test_a_job_class_and_all_are_held_listed_and_released(run: Run) -> None:
    job_id = submitted(run)

    exits = [run("hold", "Nap", "--reason", "broken").exit_code, run("hold", "--all").exit_code]
    listed = json.loads(run("hold", "--json").stdout)
    why = json.loads(run("show", job_id, "--json").stdout)["why_not_running"]
    doctor = run("doctor").stdout
    told = [run("release", *words).stderr for words in (("Nap",), ("--all",), ("Nap",))]

    assert exits == [0, 0]
    assert [(row["job_class"], row["reason"]) for row in listed] == [("*", None), ("Nap", "broken")]
    assert why[:2] == ["all job classes are held", "job class Nap is held: broken"]
    assert "all job classes, Nap (broken)" in doctor
    assert told == ["job class Nap is released\n", "all job classes are released\n", "job class Nap is not held\n"]


@pytest.mark.parametrize(
    "words", [("hold", "Nap", "--all"), ("release",), ("release", "Nap", "--all"), ("hold", "--reason", "x")]
)
def test_a_hold_of_what_is_not_clear_is_bad_usage(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2
    assert json.loads(run("hold", "--json").stdout) == []


def test_rates_and_what_a_queue_publishes_are_set_shown_and_taken_away(run: Run) -> None:
    run("queue", "limit", "images", "--rate", "100/min", "--burst", "5", "--events", "final", "--max-running", "3")
    run("tenant", "limit", "acme", "--rate", "5/h")
    (queue,) = json.loads(run("queue", "list", "--json").stdout)
    (tenant,) = json.loads(run("tenant", "list", "--json").stdout)

    run("queue", "limit", "images", "--rate", "off", "--events", "all")
    run("tenant", "limit", "acme", "--rate", "off")
    (queue_after,) = json.loads(run("queue", "list", "--json").stdout)
    (tenant_after,) = json.loads(run("tenant", "list", "--json").stdout)

    shown = ("rate", "burst", "events", "max_running")
    assert [queue[name] for name in shown] == ["100/min", 5, "final", 3]
    assert [queue_after[name] for name in shown] == [None, None, "all", 3]
    assert (tenant["rate"], tenant_after["rate"]) == ("5/h", None)


def test_the_aging_of_a_queue_is_set_shown_and_taken_away(run: Run) -> None:
    run("queue", "limit", "images", "--aging", "10m")
    (queue,) = json.loads(run("queue", "list", "--json").stdout)
    run("queue", "limit", "images", "--events", "all")
    (left_alone,) = json.loads(run("queue", "list", "--json").stdout)

    run("queue", "limit", "images", "--aging", "off")
    (queue_after,) = json.loads(run("queue", "list", "--json").stdout)

    assert (queue["aging"], left_alone["aging"], queue_after["aging"]) == (600.0, 600.0, None)


def test_limits_of_a_tenant_on_a_queue_and_of_its_keys_are_set_and_listed(run: Run) -> None:
    submitted(run, "--tenant", "acme", "--queue", "images", "--concurrency-key", "disk")

    run("tenant", "limit", "acme", "--queue", "images", "--max-running", "2", "--weight", "3")
    run("tenant", "limit", "acme", "--key", "disk", "--max-running", "4")
    run("tenant", "limit", "acme", "--key", "tape", "--max-running", "0")
    rows = json.loads(run("tenant", "limits", "acme", "--json").stdout)
    run("tenant", "limit", "acme", "--key", "disk", "--no-max-running")
    run("tenant", "limit", "acme", "--key", "tape", "--no-max-running")
    after = json.loads(run("tenant", "limits", "acme", "--json").stdout)

    told = [
        (row["kind"], row["name"], row["max_running"], row["weight"], row["queued"], row["running"]) for row in rows
    ]
    assert told == [("queue", "images", 2, 3, 1, 0), ("key", "disk", 4, None, 1, 0), ("key", "tape", 0, None, 0, 0)]
    assert [(row["name"], row["max_running"]) for row in after] == [("images", 2), ("disk", 1)]


@pytest.mark.parametrize(
    "words",
    [
        ("queue", "limit", "images"),
        ("queue", "limit", "images", "--rate", "often"),
        ("queue", "limit", "images", "--burst", "3"),
        ("queue", "limit", "images", "--events", "some"),
        ("queue", "limit", "images", "--aging", "often"),
        ("queue", "limit", "images", "--aging", "0.5"),
        ("tenant", "limit", "acme", "--queue", "images", "--rate", "1/s"),
        ("tenant", "limit", "acme", "--key", "disk", "--weight", "2"),
        ("tenant", "limit", "acme", "--key", "disk"),
        ("tenant", "limit", "acme", "--key", "disk", "--queue", "images", "--max-running", "1"),
        ("tenant", "limit", "acme", "--max-running", "1", "--no-max-running"),
    ],
    ids=" ".join,
)
def test_a_limit_that_makes_no_sense_is_bad_usage_and_changes_nothing(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert json.loads(run("queue", "list", "--json").stdout) == json.loads(run("tenant", "list", "--json").stdout) == []


def test_daemons_are_listed_as_json_even_when_there_is_none(run: Run) -> None:
    assert json.loads(run("daemons", "--json").stdout) == []


def test_the_schema_is_checked_applied_and_current(run: Run, empty_database_url: str) -> None:
    codes = [
        run("schema", verb, "--database-url", empty_database_url).exit_code
        for verb in ("check", "apply", "apply", "check")
    ]

    assert codes == [6, 0, 0, 0]


def test_a_missing_schema_ends_with_6_and_says_what_to_do(run: Run, empty_database_url: str) -> None:
    result = run("list", "--database-url", empty_database_url)

    assert result.exit_code == 6
    assert "jobservice schema apply" in result.stderr


def test_a_database_that_does_not_exist_ends_with_7(run: Run, database_url: str) -> None:
    assert run("list", "--database-url", database_url.rsplit("/", 1)[0] + "/no_such").exit_code == 7


def test_doctor_says_what_is_wrong_and_ends_with_1(run: Run) -> None:
    submitted(run)

    result = run("doctor", "--json")

    findings = {each["what"]: each for each in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert (findings["schema"]["well"], findings["rights"]["well"], findings["sessions"]["well"]) == (True, True, True)
    assert findings["queues"]["well"] is False
    assert "default" in findings["queues"]["finding"]
    assert (findings["broker"]["well"], "JOBSERVICE_AMQP_URL" in findings["broker"]["advice"]) == (False, True)


def test_doctor_names_the_version_that_the_server_names(run: Run, database_url: str) -> None:
    async def asked() -> str:
        connection = await asyncpg.connect(database_url)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    findings = {each["what"]: each["finding"] for each in json.loads(run("doctor", "--json").stdout)}

    assert findings["database"] == f"PostgreSQL {asyncio.run(asked()).split()[0]}"
