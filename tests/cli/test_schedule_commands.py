"""The commands about schedules on a real database."""

import json
import re
from pathlib import Path

import pytest
from command_line import Run


def shown(run: Run, *arguments: str) -> dict:
    result = run("schedule", "show", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_schedule_is_added_paused_resumed_and_removed(run: Run) -> None:
    added = run(
        "schedule", "add", "nightly", "Nap", "--cron", "30 2 * * *", "--time-zone", "Europe/Berlin", "--tenant", "acme",
        "-p", "day={fire_date:%Y-%m-%d}", "--queue", "books", "--priority", "HIGH", "--catch-up", "all",
        "--catch-up-within", "2d", "--overlap", "queue", "--timeout", "1h", "--json",
    )  # fmt: skip
    assert added.exit_code == 0, added.stderr
    schedule = json.loads(added.stdout)

    assert (schedule["when"], schedule["catch_up_within"], schedule["overlap"]) == ("30 2 * * *", 172_800, "queue")
    assert schedule["job"] == {
        "job_class": "Nap",
        "tenant": "acme",
        "queue": "books",
        "priority": 100,
        "timeout": 3600,
        "parameters": {"day": "{fire_date:%Y-%m-%d}"},
    }
    for verb, paused in (("pause", True), ("resume", False)):
        assert run("schedule", verb, "nightly", "--tenant", "acme").exit_code == 0
        assert shown(run, "nightly", "--tenant", "acme")["paused"] is paused
    assert run("schedule", "remove", "nightly", "--tenant", "acme").exit_code == 0
    assert json.loads(run("schedule", "list", "--json").stdout) == []


def test_the_next_dates_are_printed_in_the_zone_of_the_schedule(run: Run) -> None:
    run("schedule", "add", "nightly", "Nap", "--cron", "30 2 * * *", "--time-zone", "Asia/Kathmandu")

    dates = json.loads(run("schedule", "next", "nightly", "--count", "3", "--json").stdout)

    assert [each["fire_date"][10:] for each in dates] == ["T02:30:00+05:45"] * 3


def test_people_see_fire_dates_on_the_clock_of_the_schedule_wherever_they_are(run: Run) -> None:
    added = run("schedule", "add", "kathmandu", "Nap", "--cron", "30 2 * * *", "--time-zone", "Asia/Kathmandu")
    shown, listed = run("schedule", "show", "kathmandu"), run("schedule", "list")

    for told in (added, shown, listed):
        assert re.search(r"\d{4}-\d\d-\d\dT02:30:00\+05:45", told.stdout), told.stdout


def test_run_now_prints_the_id_of_the_job_and_obeys_the_overlap(run: Run) -> None:
    run("schedule", "add", "often", "Nap", "--every", "15m", "--overlap", "skip")

    first, second = run("schedule", "run-now", "often"), run("schedule", "run-now", "often")

    job = json.loads(run("show", first.stdout.strip(), "--json").stdout)
    assert job["user_metadata"]["schedule"] == "often"
    assert (second.exit_code, second.stdout) == (5, "")


def test_a_pipeline_is_given_as_a_file(run: Run, tmp_path: Path) -> None:
    pipeline = {"name": "books", "stages": [{"job_class": "Nap", "jobs": [{"parameters": {"day": "{fire_date}"}}]}]}
    (tmp_path / "books.json").write_text(json.dumps(pipeline))

    assert run("schedule", "add", "books", "--pipeline", "books.json", "--cron", "@daily").exit_code == 0

    assert shown(run, "books")["pipeline"]["name"] == "books"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "none"), 4, "there is no schedule none"),
        (("run-now", "none"), 4, "there is no schedule none"),
        (("add", "x", "Nap"), 2, "cron, every"),
        (("add", "x", "--every", "5"), 2, "a job class or --pipeline"),
        (("add", "x", "Nap", "--cron", "61 * * * *"), 2, "bad minute"),
        (("add", "x", "Nap", "--every", "0.5"), 2, "whole seconds"),
        (("add", "x", "Nap", "--every", "5", "--time-zone", "Mars"), 2, "no time zone 'Mars'"),
        (("add", "x", "Nap", "--every", "5", "-p", "day={day}"), 2, "{day} is not known"),
        (("add", "taken", "Nap", "--every", "5"), 5, "replace"),
    ],
)
def test_what_is_wrong_is_told_in_words(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    run("schedule", "add", "taken", "Nap", "--every", "60")

    result = run("schedule", *arguments)

    assert result.exit_code == code
    assert words in result.stderr


def test_a_class_that_no_living_daemon_knows_is_told_by_doctor_and_by_the_list(run: Run) -> None:
    run("schedule", "add", "lonely", "Nap", "--every", "60")

    findings = {each["what"]: each for each in json.loads(run("doctor", "--json").stdout)}

    assert findings["schedules"]["well"] is False
    assert "no living daemon of queue default knows class Nap" in findings["schedules"]["finding"]
    assert "lonely" in run("schedule", "list").stdout


def test_ticks_that_wait_are_told_by_list_show_and_next_and_by_remove(run: Run, tmp_path: Path) -> None:
    pipeline = {"name": "books", "stages": [{"job_class": "Nap", "jobs": [{}]}]}
    (tmp_path / "books.json").write_text(json.dumps(pipeline))
    run("schedule", "add", "books", "--pipeline", "books.json", "--cron", "@yearly", "--overlap", "queue")
    first = run("schedule", "run-now", "books")

    second, third = run("schedule", "run-now", "books"), run("schedule", "run-now", "books", "--json")

    assert (len(first.stdout.strip()), second.exit_code, second.stdout) == (36, 0, "")
    assert "it waits for its turn" in second.stderr
    assert json.loads(third.stdout) == {"id": None}
    schedule = shown(run, "books")
    assert (schedule["fired"], schedule["waiting"]) == (1, 2)
    assert schedule["state"].startswith("2 waiting since ")
    assert "2 waiting since " in run("schedule", "list").stdout
    dates = json.loads(run("schedule", "next", "books", "--count", "1", "--json").stdout)
    assert [sorted(each) for each in dates] == [["fire_date", "waits_since"]] * 2 + [["fire_date"]]
    assert "with 2 ticks that waited" in run("schedule", "remove", "books").stderr
