"""The commands about pipelines on a real database: what they print where, and how they end."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from command_line import Run

FILE = """
name: create-map
tenant: acme
stages:
  - {name: process, job_class: Tile, jobs: [{parameters: {x: 1}}, {parameters: {x: 2}}]}
  - {name: gate, job_class: Tile, hold: true, jobs: [{}]}
  - {name: empty}
"""


@pytest.fixture
def run(run: Run, tmp_path: Path) -> Run:
    """Call the command line in a directory with a pipeline's file."""
    (tmp_path / "map.yaml").write_text(FILE)
    return run


def submitted(run: Run, *options: str) -> str:
    result = run("pipeline", "submit", "map.yaml", *options)
    assert result.exit_code == 0, result.stderr
    assert str(UUID(result.stdout.strip())) + "\n" == result.stdout
    return result.stdout.strip()


def shown(run: Run, pipeline_id: str) -> dict[str, object]:
    told: dict[str, object] = json.loads(run("pipeline", "show", pipeline_id, "--json").stdout)
    return told


def test_submit_stores_the_whole_tree_and_prints_the_id_alone(run: Run) -> None:
    pipeline = shown(run, submitted(run, "--tenant", "zeta"))

    assert (pipeline["name"], pipeline["tenant"], pipeline["status"]) == ("create-map", "zeta", "QUEUED")
    stages = pipeline["stages"]
    assert isinstance(stages, list)
    assert [(each["name"], each["status"], each["total"]) for each in stages] == [
        ("process", "QUEUED", 2),
        ("gate", "PENDING", 1),
        ("empty", "PENDING", 0),
    ]


def test_a_dry_run_draws_the_stages_and_submits_nothing(run: Run) -> None:
    result = run("pipeline", "submit", "map.yaml", "--dry-run")

    assert (result.exit_code, json.loads(run("pipeline", "list", "--json").stdout)) == (0, [])
    assert "1 process: 2 of Tile" in result.stdout
    assert "2 gate: 1 of Tile (on hold)" in result.stdout


def test_a_dry_run_is_refused_as_the_submission_would_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("map.yaml").write_text(FILE + "  - {jobs: [{prioritty: 1}]}\n")

    checked = run("pipeline", "submit", "map.yaml", "--dry-run")
    monkeypatch.delenv("JOBSERVICE_DATABASE_URL")
    alone = run("pipeline", "submit", "map.yaml", "--dry-run")

    assert (checked.exit_code, alone.exit_code) == (2, 0)
    assert "stages[3].jobs[0].prioritty is not a field" in checked.stderr
    assert "not checked" in alone.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "map.yaml, line 1, column 8:"),
        ("name: a\nstages: []\nstages: []", "map.yaml, line 3, column 1: stages is there twice"),
        ("- 1", "one pipeline"),
        ("name: no.dots", "name"),
        ("name: a\nstages: [{jobs: [{job_class: b, priority: no}]}]", "stages[0].jobs[0].priority"),
        ("name: a\nstagse: []", "stagse"),
    ],
)
def test_a_file_that_is_no_pipeline_ends_with_2_and_says_where(run: Run, text: str, told: str) -> None:
    Path("map.yaml").write_text(text)

    result = run("pipeline", "submit", "map.yaml")

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_show_says_what_each_stage_waits_for(run: Run) -> None:
    pending = run("pipeline", "show", submitted(run, "--pending")).stdout
    started = run("pipeline", "show", submitted(run)).stdout

    assert "not started: `pipeline start " in pending
    assert "waits for stage 1 (process)" in started


def test_verbs_try_each_id_and_end_with_the_worst(run: Run) -> None:
    held, unknown = submitted(run, "--pending"), str(uuid4())

    started = run("pipeline", "start", held, unknown)
    again = run("pipeline", "start", held)

    assert (started.exit_code, started.stdout) == (4, f"{held}\tQUEUED\n")
    assert f"there is no pipeline {unknown}" in started.stderr
    assert (again.exit_code, again.stdout) == (5, "")
    assert "it is QUEUED" in again.stderr


def test_a_stopped_pipeline_can_be_restarted_and_only_an_ended_one_deleted(run: Run) -> None:
    pipeline_id = submitted(run)

    too_early = run("pipeline", "delete", pipeline_id)
    stopped = run("pipeline", "stop", pipeline_id, "--reason", "no more maps")
    restarted = run("pipeline", "restart", pipeline_id)

    assert (too_early.exit_code, stopped.stdout) == (5, f"{pipeline_id}\tABORTED\n")
    assert restarted.stdout == f"{pipeline_id}\tQUEUED\n"


def test_delete_says_what_is_gone(run: Run) -> None:
    Path("map.yaml").write_text("name: empty")
    pipeline_id = submitted(run)

    assert run("pipeline", "delete", pipeline_id).stdout == f"{pipeline_id}\tdeleted\n"
    assert run("pipeline", "delete", pipeline_id).exit_code == 4


def test_jobs_lists_those_of_a_stage_and_why_they_ended_as_they_did(run: Run) -> None:
    pipeline_id = submitted(run)
    run("pipeline", "stop", pipeline_id, "--reason", "no more maps")

    every = run("pipeline", "jobs", pipeline_id).stdout.splitlines()
    second = json.loads(run("pipeline", "jobs", pipeline_id, "--stage", "2", "--status", "aborted", "--json").stdout)

    assert every[0].split("\t") == ["job_id", "stage", "status", "job_class", "attempt", "percent_completed", "reason"]
    assert [line.split("\t")[1:3] for line in every[1:]] == [["1", "ABORTED"], ["1", "ABORTED"], ["2", "ABORTED"]]
    assert [(job["stage"], job["reason"]) for job in second] == [(2, "no more maps")]
    assert run("pipeline", "jobs", pipeline_id, "--stage", "4").exit_code == 2


def test_release_names_the_stage_by_its_position(run: Run) -> None:
    pipeline_id = submitted(run)

    released = run("pipeline", "release", pipeline_id, "--stage", "2")
    beyond = run("pipeline", "release", pipeline_id, "--stage", "9")

    assert (released.exit_code, beyond.exit_code) == (0, 2)
    assert "has 3 stages" in beyond.stderr
    stages = shown(run, pipeline_id)["stages"]
    assert isinstance(stages, list)
    assert stages[1]["hold"] is False


def test_a_pipeline_is_built_step_by_step(run: Run) -> None:
    Path("map.yaml").write_text("{name: map, open: true}")
    Path("stage.yaml").write_text("{name: tiles, job_class: Tile, open: true}")
    Path("jobs.yaml").write_text("[{parameters: {x: 1}}, {parameters: {x: 2}}]")
    pipeline_id = submitted(run)

    position, stage_id = run("pipeline", "add-stage", pipeline_id, "stage.yaml").stdout.split()
    ids = run("pipeline", "add-jobs", pipeline_id, "jobs.yaml", "--stage", position).stdout.split()
    sealed = [run("pipeline", "seal-stage", pipeline_id, "--stage", "1"), run("pipeline", "seal", pipeline_id)]
    refused = run("pipeline", "add-jobs", pipeline_id, "stage.yaml", "--stage", "1")

    pipeline = shown(run, pipeline_id)
    stages = pipeline["stages"]
    assert isinstance(stages, list)
    assert [(each["stage_id"], each["open"], each["total"]) for each in stages] == [(stage_id, False, len(ids))]
    assert ([each.exit_code for each in sealed], pipeline["open"]) == ([0, 0], False)
    assert (refused.exit_code, "jobs is a list" in refused.stderr) == (2, True)


def test_priority_and_metadata_are_changed_in_place(run: Run) -> None:
    pipeline_id = submitted(run)

    (changed,) = json.loads(run("pipeline", "priority", pipeline_id, "VERY_HIGH", "--json").stdout)
    run("pipeline", "metadata", pipeline_id, "n=1", "note=some text")
    run("pipeline", "metadata", pipeline_id, "n=null")

    pipeline = shown(run, pipeline_id)
    assert (pipeline["priority"], pipeline["user_metadata"]) == (200, {"note": "some text"})
    assert (changed["pipeline_id"], changed["accepted"]) == (pipeline_id, True)


def test_a_graph_is_mermaid_or_a_picture(run: Run) -> None:
    pipeline_id = submitted(run)

    mermaid = run("pipeline", "graph", pipeline_id).stdout
    picture = run("pipeline", "graph", pipeline_id, "--format", "svg").stdout

    assert mermaid.startswith("flowchart LR\n")
    assert "s1 --> s2" in mermaid
    assert picture.startswith("<svg ")
    assert "2 gate" in picture
