"""The watch over the room for workspaces: real directories; how full the disk is, is said by the test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from jobservice.maintenance.workspace_watch import INTERVAL, WorkspaceWatch
from jobservice.pool.room import bytes_below, room_at

BLOCK = 65_536
"""A size that no file system rounds."""


class Disk:
    """How full the file system is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.percent = 10.0
        self.broken = False
        monkeypatch.setattr(shutil, "disk_usage", self._usage)

    def _usage(self, path: Path) -> SimpleNamespace:
        if self.broken:
            raise OSError(5, "Input/output error", str(path))
        used = int(self.percent * 1000)
        return SimpleNamespace(total=200_000, used=used, free=100_000 - used)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What is logged."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries


@pytest.fixture
def spaces(tmp_path: Path) -> dict[str, Path]:
    """Two tenants' workspaces: acme's is the larger one."""
    spaces = {"acme": tmp_path / "a", "zoo": tmp_path / "z"}
    for tenant, blocks in (("acme", 3), ("zoo", 1)):
        (spaces[tenant] / "deep" / "er").mkdir(parents=True)
        (spaces[tenant] / "deep" / "er" / "file").write_bytes(os.urandom(blocks * BLOCK))
    return spaces


def watch_of(spaces: dict[str, Path], **given: Any) -> WorkspaceWatch:
    settings: dict[str, Any] = {"warn_percent": 80, "pause_percent": 90, "tenant_max_bytes": 0, "resumed": lambda: None}
    return WorkspaceWatch(
        directory=next(iter(spaces.values())).parent,
        occupied=spaces.items,
        needing=["Tile"],
        **(settings | given),
    )


def events(told: list[Any]) -> list[str]:
    return [entry["event"] for entry in told]


# ------------------------------------------------------------------------------------------------------- measuring


def test_room_is_what_another_program_says_of_the_disk(tmp_path: Path) -> None:
    room = room_at(tmp_path / "not" / "there yet")

    shown = subprocess.run(["df", "-Pk", tmp_path], capture_output=True, text=True, check=True).stdout.splitlines()[1]
    used, free = (int(word) * 1024 for word in shown.split()[-4:-2])
    assert room.free_bytes == pytest.approx(free, rel=0.05)
    if sys.platform == "linux":  # elsewhere volumes share a disk, and df tells the use of each
        assert room.used_percent == pytest.approx(100 * used / (used + free), abs=1)


def test_a_directory_takes_what_its_files_take_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "file").write_bytes(os.urandom(BLOCK))
    (tmp_path / "deep" / "er" / "other").write_bytes(os.urandom(2 * BLOCK))

    assert 3 * BLOCK <= bytes_below(tmp_path, lambda: False) < 4 * BLOCK


def test_a_hole_takes_nothing_a_second_name_nothing_and_a_link_not_what_it_points_to(tmp_path: Path) -> None:
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "place"
    elsewhere.mkdir()
    place.mkdir()
    (elsewhere / "large").write_bytes(os.urandom(8 * BLOCK))
    (place / "link").symlink_to(elsewhere / "large")
    (place / "directory").symlink_to(elsewhere)
    (place / "file").write_bytes(os.urandom(BLOCK))
    (place / "second name").hardlink_to(place / "file")
    with (place / "hole").open("wb") as hole:
        hole.truncate(100 * BLOCK)

    assert BLOCK <= bytes_below(place, lambda: False) < 2 * BLOCK


def test_what_vanishes_meanwhile_takes_nothing_and_one_may_give_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(BLOCK))

    assert bytes_below(tmp_path / "gone", lambda: False) == 0
    assert bytes_below(tmp_path, lambda: True) == 0


# --------------------------------------------------------------------------------------------------------- deciding


async def test_nothing_that_needs_a_workspace_is_claimed_before_the_first_look(
    disk: Disk, spaces: dict[str, Path]
) -> None:
    resumed: list[bool] = []
    watch = watch_of(spaces, resumed=lambda: resumed.append(True))
    before = (watch.withheld, watch.full)

    await watch.run_once()

    assert before == (("Tile",), False)
    assert (watch.withheld, watch.full, resumed) == ((), False, [True])


async def test_a_disk_that_fills_is_warned_of_then_withheld_then_resumed_each_once(
    disk: Disk, spaces: dict[str, Path], told: list[Any]
) -> None:
    watch = watch_of(spaces)
    withheld = []
    for percent in (79.9, 80, 85, 90, 99, 95, 89.9, 85, 79, 10):
        disk.percent = percent
        await watch.run_once()
        withheld.append(bool(watch.withheld))

    assert withheld == [False, False, False, True, True, True, False, False, False, False]
    assert events(told) == ["workspace.warn", "workspace.pause", "workspace.resume", "workspace.recover"]
    assert [entry["used_percent"] for entry in told] == [80.0, 90.0, 89.9, 79.0]
    assert told[1]["job_classes"] == ["Tile"]


async def test_the_warning_names_the_tenant_whose_workspaces_take_most(
    disk: Disk, spaces: dict[str, Path], told: list[Any]
) -> None:
    disk.percent = 85

    await watch_of(spaces).run_once()

    (warning,) = told
    assert warning["largest_tenant"] == "acme"
    assert 3 * BLOCK <= warning["largest_tenant_bytes"] < 4 * BLOCK


async def test_a_full_disk_without_a_workspace_on_it_blames_nobody(disk: Disk, tmp_path: Path, told: list[Any]) -> None:
    disk.percent = 85

    await watch_of({"acme": tmp_path / "not made"}).run_once()
    await WorkspaceWatch(
        directory=tmp_path, occupied=list, needing=[], warn_percent=80, pause_percent=0, tenant_max_bytes=0,
        resumed=lambda: None,
    ).run_once()  # fmt: skip

    assert [entry["largest_tenant_bytes"] for entry in told] == [0, 0]


async def test_thresholds_of_0_are_off(disk: Disk, spaces: dict[str, Path], told: list[Any]) -> None:
    disk.percent = 100
    watch = watch_of(spaces, warn_percent=0, pause_percent=0)
    before = watch.withheld

    await watch.run_once()

    assert (before, watch.withheld, told) == ((), (), [])
    assert watch.room is not None
    assert watch.room.used_percent == 100


async def test_each_tenant_above_its_share_is_warned_of_once_and_again_when_it_comes_back(
    disk: Disk, spaces: dict[str, Path], told: list[Any]
) -> None:
    watch = watch_of(spaces, tenant_max_bytes=2 * BLOCK)
    over = []
    await watch.run_once()
    over.append(watch.tenants_over)
    (spaces["zoo"] / "more").write_bytes(os.urandom(4 * BLOCK))
    await watch.run_once()
    over.append(watch.tenants_over)
    shutil.rmtree(spaces["zoo"])
    await watch.run_once()
    over.append(watch.tenants_over)

    assert over == [("acme",), ("zoo", "acme"), ("acme",)]
    assert [(entry["event"], entry["tenant"]) for entry in told] == [
        ("workspace.tenant_over", "acme"),
        ("workspace.tenant_over", "zoo"),
    ]


async def test_jobs_of_a_tenant_above_its_share_that_need_a_workspace_wait_until_it_takes_less(
    disk: Disk, spaces: dict[str, Path]
) -> None:
    resumed: list[bool] = []
    watch = watch_of(spaces, tenant_max_bytes=2 * BLOCK, resumed=lambda: resumed.append(True))
    await watch.run_once()
    resumed.clear()  # until the first look all were withheld

    over = watch.withheld
    shutil.rmtree(spaces["acme"])
    await watch.run_once()

    assert over
    assert {name.split("/")[0] for name in over} == {"acme"}
    assert (watch.withheld, watch.full, resumed) == ((), False, [True])


async def test_a_disk_that_cannot_be_asked_stops_nothing_and_is_told_once(
    disk: Disk, spaces: dict[str, Path], told: list[Any]
) -> None:
    watch = watch_of(spaces)
    disk.percent = 95
    await watch.run_once()
    disk.broken = True

    await watch.run_once()
    await watch.run_once()

    assert (watch.withheld, watch.room) == ((), None)
    assert events(told) == ["workspace.pause", "workspace.look_failed"]


async def test_it_looks_again_after_a_while(disk: Disk, spaces: dict[str, Path]) -> None:
    assert await watch_of(spaces).run_once() >= INTERVAL
