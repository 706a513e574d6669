"""The examples that are pipelines run as their page says, on private servers; that of docs/pipelines.md can be run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from PIL import Image, ImageStat
from typer.testing import CliRunner

from jobservice.cli.main import build
from jobservice.sdk.registry import Registry

ROOT = Path(__file__).parents[2]
SECONDS = 120


@contextmanager
def started(home: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A program; it and its servers are ended where it does not end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
    environment = clean | {"XDG_STATE_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        guard = threading.Timer(SECONDS, program.send_signal, (signal.SIGINT,))
        guard.start()
        try:
            yield program
        finally:
            guard.cancel()
            program.send_signal(signal.SIGINT)


def test_waves_runs_its_nine_jobs_in_exactly_five_waves(tmp_path: Path) -> None:
    with started(tmp_path, "examples.waves") as program:
        printed, _ = program.communicate()

    lines = printed.splitlines()
    assert (program.returncode, lines[-1]) == (0, "9 jobs in 5 waves"), printed
    waves = ["B1", "B1", "B1", "J4", "J5", "B2", "B2", "B2", "J9"]
    assert [line.split()[:3] for line in lines[:-1]] == [
        [wave, f"J{n}", "SUCCEEDED"] for n, wave in enumerate(waves, start=1)
    ]


def test_create_map_waits_for_a_release_from_another_terminal_and_makes_a_picture_of_the_earth(tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    small = ("--size", "1350", "--resolution", "0.2")
    environment: dict[str, str] = {}
    lines: list[str] = []

    with started(tmp_path, "examples.create_map", str(target), *small) as program:
        assert program.stdout is not None
        for line in program.stdout:
            lines.append(line.rstrip())
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                environment[name] = value.strip("'")
            if line.startswith("./dev "):
                assert "upload   PENDING, 8 jobs wait for the release" in lines
                released = CliRunner().invoke(build(), line.split()[1:], env=environment)
                assert released.exit_code == 0, released.output
        program.wait(SECONDS)

    told = "\n".join(lines)
    assert program.returncode == 0, told
    assert lines[-3:] == [
        "8 tiles processed, 1 of them at the second attempt",
        "8 uploaded",
        f"{target}: 1080 x 540 pixels",
    ]
    with Image.open(target) as earth:
        pacific, sahara, antarctica = (mean(earth, box) for box in PLACES)
    assert pacific[2] > 2 * pacific[0]
    assert sahara[0] > sahara[2] > 50
    assert min(antarctica) > 200


PLACES = ((60, 250, 160, 300), (540, 190, 600, 210), (300, 520, 900, 538))
"""Where the Pacific, the Sahara and the Antarctic are on the map."""


def mean(picture: Image.Image, box: tuple[int, int, int, int]) -> list[float]:
    """Red, green and blue."""
    return ImageStat.Stat(picture.crop(box)).mean


def test_the_pipeline_on_the_page_is_one_that_the_command_line_and_its_job_classes_take(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "pipelines.md").read_text(), re.DOTALL)
    file = tmp_path / "create-map.yaml"
    file.write_text(text)
    page = yaml.safe_load(text)
    classes = Registry.load(["workers"])

    drawn = CliRunner().invoke(build(), ["pipeline", "submit", str(file), "--dry-run"])

    assert drawn.exit_code == 0, drawn.output
    for stage in page["stages"]:
        data = {"$stage": stage.get("data", {}), "$pipeline": page["data"]}
        definition = classes.find(stage["job_class"])
        assert definition is not None
        for job in stage["jobs"]:
            given = {name: referred(value, data) for name, value in job["parameters"].items()}
            definition.job_class.check_parameters(json.dumps(given))


def referred(value: object, data: dict[str, dict[str, object]]) -> object:
    """What a reference stands for."""
    if isinstance(value, dict):
        ((kind, name),) = value.items()
        return data[kind][name]
    return value
