"""The image and the composition as files say them: what an engine would only tell once it is there.

`./dev container-test` tries both on a real engine; here nothing is started.
"""

import json
import re
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobservice.config import Settings
from jobservice.daemon.daemon import LAST_EVENTS_SECONDS
from jobservice.settings_sources import refuse_unknown_variables

CHECKOUT = Path(__file__).parents[2]
COMPOSE = Path(sysconfig.get_path("scripts")) / "docker-compose"
CONFIGURATION = CHECKOUT / "config" / "jobservice.toml"
OURS = ("schema", "daemon")
SERVERS = ("postgres", "rabbitmq")


@dataclass(frozen=True)
class Instruction:
    """One instruction of the Dockerfile, its continued lines joined."""

    word: str
    rest: str


def stages() -> list[list[Instruction]]:
    text = (CHECKOUT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    instructions = [
        Instruction(*line.split(maxsplit=1)) for line in lines.replace("\\\n", " ").splitlines() if line.strip()
    ]
    starts = [n for n, each in enumerate(instructions) if each.word == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def final(word: str) -> list[str]:
    return [each.rest for each in stages()[-1] if each.word == word]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in final("ENV") for pair in rest.split())


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    """compose.yaml as Compose itself reads it, with nothing set from outside."""
    if not COMPOSE.exists():
        pytest.skip("there is no docker-compose for this system")
    read = subprocess.run(
        [COMPOSE, "--file", "compose.yaml", "config", "--format", "json"],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


# The image.


def test_the_image_runs_as_a_user_that_an_orchestrator_can_see_is_not_root() -> None:
    (user,) = final("USER")

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_is_made_of_pinned_wheels_with_hashes_and_of_none_of_the_tools() -> None:
    text = " ".join(each.rest for stage in stages() for each in stage)

    fetched = re.findall(r"pip [^&]*? -r \S+", text)

    assert {re.sub(".*/", "", each) for each in fetched} == {"run.txt", "build.txt"}
    assert all("--require-hashes" in each and "--only-binary=:all:" in each for each in fetched)
    assert not re.search(r"dev\.txt|build-essential|gcc|://", text)


def test_the_final_stage_fetches_nothing_and_takes_only_what_the_first_has_built() -> None:
    run = " ".join(final("RUN"))

    assert not re.search(r"apt-get|pip |curl|wget", run)
    assert stages()[0][0].rest.removesuffix(" AS build") == final("FROM")[0]


def test_what_the_image_copies_is_let_through_and_nothing_else_is() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for stage in stages()
        for each in stage
        if each.word == "COPY" and not each.rest.startswith("--from")
        for source in each.rest.split()[:-1]
    }

    assert "*" in ignored
    assert {name.split("/")[0] for name in let_through} == {name.split("/")[0] for name in copied}


def test_pid_1_is_an_init_that_passes_signals_on_and_reaps() -> None:
    (entry,) = final("ENTRYPOINT")

    assert json.loads(entry) == ["tini", "--", "jobservice"]
    assert final("STOPSIGNAL") == ["SIGTERM"]


def test_each_variable_of_the_image_is_a_setting_and_means_what_the_image_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in image_environment().items():
        if name.startswith("JOBSERVICE_"):
            monkeypatch.setenv(name, value)

    settings = Settings.load(config=CONFIGURATION)

    assert (settings.daemon.http_host, settings.daemon.http_port) == ("0.0.0.0", int(final("EXPOSE")[0]))
    assert f"jobservice -m 750 /var/lib/jobservice {settings.workspace.directory}" in " ".join(final("RUN"))


def test_the_image_names_no_volume_since_each_container_without_one_would_leave_a_nameless_one_behind() -> None:
    assert final("VOLUME") == []


def test_the_health_check_asks_whether_it_lives_and_not_whether_servers_do() -> None:
    (check,) = final("HEALTHCHECK")

    assert "/livez" in check
    assert "/readyz" not in check
    assert "JOBSERVICE_DAEMON__HTTP_PORT" in check


# The composition.


def test_the_composition_is_the_four_services_that_are_needed(composition: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in composition["services"].items()}

    assert images == {
        "postgres": "postgres:18",
        "rabbitmq": "rabbitmq:4",
        "schema": "jobservice",
        "daemon": "jobservice",
    }


@pytest.mark.parametrize("service", OURS)
def test_our_containers_can_do_no_more_than_they_need(composition: dict[str, Any], service: str) -> None:
    ours = composition["services"][service]

    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert not ours.get("privileged")
    assert "user" not in ours, "the image says who runs it"


@pytest.mark.parametrize("service", OURS)
def test_each_variable_of_ours_is_a_setting(
    composition: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = composition["services"][service]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = Settings.load(config=CONFIGURATION)

    refuse_unknown_variables(Settings, environment)
    assert "@postgres:5432/" in (settings.database_url or "")
    assert "@rabbitmq:5672/" in (settings.amqp_url or "")


def test_the_passwords_in_the_urls_are_those_of_the_servers(composition: dict[str, Any]) -> None:
    services = composition["services"]
    database = services["postgres"]["environment"]
    broker = services["rabbitmq"]["environment"]

    urls = services["daemon"]["environment"]

    assert f"//{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@" in urls["JOBSERVICE_DATABASE_URL"]
    assert urls["JOBSERVICE_DATABASE_URL"].endswith(f"/{database['POSTGRES_DB']}")
    assert f"//{broker['RABBITMQ_DEFAULT_USER']}:{broker['RABBITMQ_DEFAULT_PASS']}@" in urls["JOBSERVICE_AMQP_URL"]


def test_a_daemon_begins_when_the_servers_are_healthy_and_the_schema_is_there(composition: dict[str, Any]) -> None:
    services = composition["services"]

    waits = {name: need["condition"] for name, need in services["daemon"]["depends_on"].items()}

    assert waits == {
        "postgres": "service_healthy",
        "rabbitmq": "service_healthy",
        "schema": "service_completed_successfully",
    }
    assert services["schema"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert all(services[name]["healthcheck"]["test"] for name in SERVERS)
    assert not services["daemon"].get("healthcheck"), "the image has one"


def test_a_daemon_is_given_the_time_that_it_takes_to_drain(composition: dict[str, Any]) -> None:
    settings = Settings.load(config=CONFIGURATION)
    minutes, seconds = re.fullmatch(
        r"(?:(\d+)m)?(?:(\d+)s)?", composition["services"]["daemon"]["stop_grace_period"]
    ).groups(default="0")

    longest = settings.daemon.drain_timeout + settings.pool.stop_grace + 3 * LAST_EVENTS_SECONDS

    assert int(minutes) * 60 + int(seconds) >= longest + 10


def test_a_daemon_is_one_process_unless_more_are_asked_for(composition: dict[str, Any]) -> None:
    assert composition["services"]["daemon"]["environment"]["JOBSERVICE_DAEMON__PROCESSES"] == "1"


def test_no_port_is_published_but_on_this_machine(composition: dict[str, Any]) -> None:
    ports = [port for service in composition["services"].values() for port in service.get("ports", [])]

    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {port["target"] for port in ports} == {5432, 5672, 8080}


def test_any_number_of_daemons_can_run_side_by_side(composition: dict[str, Any]) -> None:
    daemon = composition["services"]["daemon"]

    assert daemon["deploy"]["replicas"] == 1
    assert "container_name" not in daemon
    assert "published" not in daemon["ports"][0], "a fixed port is free only once"


def test_what_must_outlive_a_container_is_on_a_volume(composition: dict[str, Any]) -> None:
    mounted = {
        (name, volume["source"], volume["target"])
        for name, service in composition["services"].items()
        for volume in service.get("volumes", [])
    }

    assert mounted == {
        ("postgres", "postgres", "/var/lib/postgresql"),
        ("rabbitmq", "rabbitmq", "/var/lib/rabbitmq"),
        ("daemon", "workspaces", image_environment()["JOBSERVICE_WORKSPACE__DIRECTORY"]),
    }
    assert composition["services"]["rabbitmq"]["hostname"], "the broker's data is kept under its host's name"


# What tries them.


def test_without_an_engine_the_container_test_says_so_and_ends_well(tmp_path: Path) -> None:
    (tmp_path / "bash").symlink_to("/bin/bash")
    (tmp_path / "dirname").symlink_to(
        next(path for path in map(Path, ("/usr/bin/dirname", "/bin/dirname")) if path.exists())
    )

    told = subprocess.run(
        ["/bin/bash", CHECKOUT / "tests" / "container" / "run"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (told.returncode, told.stdout) == (0, "skipped: there is no docker command\n")
