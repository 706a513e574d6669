"""Settings: the file equals the model, sources have an order, and every mistake gets one clear line."""

import json
import tomllib
from pathlib import Path

import pytest

from jobservice.config import Settings
from jobservice.domain.errors import ConfigurationError
from jobservice.settings_sources import setting_names

SHIPPED = Path(__file__).parents[2] / "config" / "jobservice.toml"
URLS = {"database_url", "amqp_url"}


@pytest.fixture(autouse=True)
def bare_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of this machine counts."""
    import os

    for name in list(os.environ):
        if name.startswith("JOBSERVICE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def refusal(config: Path | None = None, overrides: dict | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(config, overrides)
    return str(caught.value).splitlines()


def test_the_shipped_file_names_every_setting_and_no_other() -> None:
    tables = tomllib.loads(SHIPPED.read_text())

    named = {f"{section}.{name}" for section, table in tables.items() for name in table}

    assert named == set(setting_names(Settings)) - URLS


def test_the_shipped_file_changes_nothing_but_the_job_packages() -> None:
    shipped = Settings.load(SHIPPED)

    assert shipped.jobs.packages == ("workers",)
    assert shipped.model_copy(update={"jobs": Settings().jobs}) == Settings()


def test_every_line_of_the_shipped_file_says_what_the_setting_means() -> None:
    lines = [line for line in SHIPPED.read_text().splitlines() if "=" in line and not line.startswith("#")]

    assert [line for line in lines if " # " not in line] == []


def test_flags_win_over_the_environment_which_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(tmp_path, "[daemon]\nlease = 20\npoll = 2\nheartbeat = 4\n")
    monkeypatch.setenv("JOBSERVICE_DAEMON__LEASE", "30")
    monkeypatch.setenv("JOBSERVICE_DAEMON__POLL", "3")

    daemon = Settings.load(config, {"daemon": {"lease": 40}}).daemon

    assert (daemon.lease, daemon.poll, daemon.heartbeat, daemon.stuck_after) == (40, 3, 4, 300)


def test_a_variable_sets_the_schema_and_a_list_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_DATABASE__SCHEMA", "elsewhere")
    monkeypatch.setenv("JOBSERVICE_JOBS__PACKAGES", '["workers", "my_jobs"]')
    monkeypatch.setenv("JOBSERVICE_DATABASE_URL", "postgresql://h/d")

    settings = Settings.load()

    assert settings.database.schema_name == "elsewhere"
    assert settings.jobs.packages == ("workers", "my_jobs")
    assert settings.database_url == "postgresql://h/d"


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_DATABASE_URL", "")
    monkeypatch.setenv("JOBSERVICE_DAEMON__LEASE", "")

    settings = Settings.load()

    assert settings == Settings()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("JOBSERVICE_DATABSE_URL", "JOBSERVICE_DATABASE_URL"),
        ("JOBSERVICE_DAEMON__LEASES", "JOBSERVICE_DAEMON__LEASE"),
        ("JOBSERVICE_DAEMON_HTTP_PORT", "JOBSERVICE_DAEMON__HTTP_PORT"),
        ("JOBSERVICE_CONFIGS", "JOBSERVICE_CONFIG"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_nearest_one_named(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")

    lines = refusal()

    assert lines == [f"unknown environment variable {name}; did you mean {nearest}?"]


def test_the_addresses_that_kubernetes_writes_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_SERVICE_HOST", "10.0.0.7")
    monkeypatch.setenv("JOBSERVICE_DAEMON_SERVICE_PORT_HTTP", "8080")
    monkeypatch.setenv("JOBSERVICE_PORT", "tcp://10.0.0.7:8080")
    monkeypatch.setenv("JOBSERVICE_PORT_8080_TCP_ADDR", "10.0.0.7")

    assert Settings.load() == Settings()


def test_an_unknown_setting_in_the_file_is_refused_and_the_nearest_one_named(tmp_path: Path) -> None:
    config = written(tmp_path, "[deamon]\nlease = 20\n[pool]\ncapasity = 3\n")

    lines = refusal(config)

    assert lines == [
        f"unknown setting deamon.lease in {config}; did you mean daemon.lease?",
        f"unknown setting pool.capasity in {config}; did you mean pool.capacity?",
    ]


def test_each_wrong_value_gets_one_line_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(tmp_path, '[daemon]\nlease = "long"\nqueues = ["a.b"]\n')
    monkeypatch.setenv("JOBSERVICE_POOL__CAPACITY", "-3")

    lines = refusal(config, {"events": {"result_max_bytes": 70_000}})

    assert len(lines) == 4
    assert any(line.startswith("daemon.lease: ") and str(config) in line for line in lines)
    assert any(line.startswith("daemon.queues (member 0): ") for line in lines)
    assert any(line.startswith("pool.capacity: ") and "JOBSERVICE_POOL__CAPACITY" in line for line in lines)
    assert any(line.startswith("events.result_max_bytes: ") and "flag" in line for line in lines)


@pytest.mark.parametrize("variable", ["JOBSERVICE_DATABASE_URL", "JOBSERVICE_AMQP_URL"])
def test_a_wrong_url_is_refused_without_showing_its_password(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "mysql://user:s3cret@host/db")

    with pytest.raises(ConfigurationError) as caught:
        Settings.load()

    assert variable in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_password_is_not_in_the_repr() -> None:
    settings = Settings(database_url="postgresql://u:s3cret@h/d")

    assert "s3cret" not in repr(settings)


def test_a_lease_shorter_than_two_heartbeats_is_refused() -> None:
    lines = refusal(overrides={"daemon": {"lease": 5}})

    assert lines == ["daemon: lease must be at least twice heartbeat: one late beat is not a death (set by flag)"]


def test_a_list_that_is_not_json_says_how_to_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSERVICE_JOBS__PACKAGES", "workers,my_jobs")

    (line,) = refusal()

    assert '["workers"]' in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[daemon\n", "is not TOML"),
        ("daemon = 3\n", "daemon is a table"),
        ("[daemon]\nstuck_after = nan\n", "daemon.stuck_after"),
        ("[daemon]\nlease = inf\n", "daemon.lease"),
        ("[database]\nschema = 'Robert; drop'\n", "database.schema"),
        ("[jobs]\npackages = ['a b']\n", "jobs.packages (member 0)"),
    ],
)
def test_a_broken_file_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    lines = refusal(written(tmp_path, text))

    assert len(lines) == 1
    assert words in lines[0]


def test_a_file_that_was_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "none.toml"

    assert refusal(missing) == [f"there is no configuration file {missing} (named by --config)"]
    monkeypatch.setenv("JOBSERVICE_CONFIG", str(missing))
    assert refusal() == [f"there is no configuration file {missing} (named by JOBSERVICE_CONFIG)"]


def test_the_file_is_looked_for_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jobservice.toml").write_text("[pool]\ncapacity = 7\n")

    assert Settings.load().pool.capacity == 7


def test_settings_cannot_be_changed() -> None:
    settings = Settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.daemon.lease = 1  # type: ignore[misc]


def test_what_nobody_chose_is_the_machines_shared_out_over_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobservice.config._cores", lambda: 8)

    alone, four, many = (Settings(daemon={"processes": count}).pool for count in (1, 4, 16))

    assert [(pool.capacity, pool.processes) for pool in (alone, four, many)] == [(80, 8), (20, 2), (10, 1)]


def test_what_was_chosen_for_a_process_holds_for_each_of_several() -> None:
    pool = Settings(daemon={"processes": 4}, pool={"capacity": 7, "processes": 3}).pool

    assert (pool.capacity, pool.processes) == (7, 3)


def test_settings_told_to_another_process_are_the_same_there() -> None:
    settings = Settings.load(SHIPPED, {"database": {"schema": "elsewhere"}, "database_url": "postgresql://u:p@h/d"})

    assert Settings(**json.loads(json.dumps(settings.model_dump(mode="json", by_alias=True)))) == settings


# --------------------------------------------------------------------------------------------------- tables of a user

SCHEDULE = """[schedule.nightly]
job_class = "EndOfDay"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
parameters = { day = "{fire_date:%Y-%m-%d}", since = 2026-01-31 }
"""


def test_a_schedule_is_a_table_of_its_own_under_the_name_that_it_has(tmp_path: Path) -> None:
    settings = Settings.load(written(tmp_path, SCHEDULE))

    definition = settings.schedule["nightly"].definition("nightly")

    assert (definition.tenant, definition.name, definition.cron) == ("default", "nightly", "30 2 * * *")
    parameters = {"day": "{fire_date:%Y-%m-%d}", "since": "2026-01-31"}
    assert definition.job == {"job_class": "EndOfDay", "parameters": parameters}
    told = json.loads(json.dumps(settings.model_dump(mode="json", by_alias=True)))
    assert Settings(**told).schedule["nightly"].definition("nightly") == definition


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SCHEDULE.replace("30 2", "61 2"), "schedule.nightly: cron '61 2 * * *': bad minute (set by"),
        (SCHEDULE.replace("{fire_date:", "{date:"), "schedule.nightly: parameters.day: {date:%Y-%m-%d} is not known"),
        (SCHEDULE.replace("Berlin", "Bern"), "schedule.nightly: time_zone: there is no time zone 'Europe/Bern'"),
        (SCHEDULE + "every = 5\n", "schedule.nightly: cron, every: give one of the two"),
        (SCHEDULE + "catch_up = 'never'\n", "schedule.nightly.catch_up: input should be 'skip', 'once' or 'all'"),
        (SCHEDULE.replace("cron", "corn"), "unknown setting schedule.nightly.corn in"),
        ("[schedule]\ncron = 'x'\n", "unknown setting schedule.cron in"),
        ("[schedule.x]\nevery = 5\n", "schedule.x: job_class: is required, unless there is a pipeline"),
        (SCHEDULE.replace("nightly", '"a b"'), "schedule.a b.[key]: must be letters"),
    ],
)
def test_a_schedule_that_means_nothing_is_refused_by_its_name(tmp_path: Path, text: str, line: str) -> None:
    (found,) = refusal(written(tmp_path, text))

    assert found.startswith(line)
