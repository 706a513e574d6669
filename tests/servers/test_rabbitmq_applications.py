"""Which applications a broker's node is shown first: those that it declares, and the others are still there."""

from pathlib import Path

import pytest

from jobservice.servers.rabbitmq_applications import CodePath, code_path
from jobservice.servers.rabbitmq_installation import find_or_fetch_rabbitmq


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    directory = tmp_path / "plugins"
    declared = {
        "rabbit-9.1": "{applications, [kernel,stdlib, rabbit_common,\n  ra]},",
        "rabbit_common-9.1": "{applications,[stdlib, recon]}, {included_applications, [counters]},",
        "ra-2": "{applications, []}",
        "recon-1": "",
        "counters-1": "",
        "rabbitmq_management-9.1": "{applications, [rabbit]}",
    }
    for name, application in declared.items():
        (directory / name / "ebin").mkdir(parents=True)
        (directory / name / "ebin" / f"{name.split('-')[0]}.app").write_text(application)
    return directory


def test_first_come_the_nodes_application_and_all_it_depends_on_last_the_others(plugins: Path, tmp_path: Path) -> None:
    code = code_path(plugins, tmp_path / "links")

    assert {path.name for path in code.first.iterdir()} == {
        "rabbit-9.1", "rabbit_common-9.1", "ra-2", "recon-1", "counters-1",
    }  # fmt: skip
    assert (code.first / "ra-2" / "ebin" / "ra.app").exists()
    assert code.last == (plugins / "rabbitmq_management-9.1" / "ebin",)


def test_links_of_an_earlier_version_are_gone(plugins: Path, tmp_path: Path) -> None:
    code_path(plugins, tmp_path / "links")
    (plugins / "ra-2").rename(plugins / "ra-3")

    code = code_path(plugins, tmp_path / "links")

    assert {path.name for path in code.first.glob("ra-*")} == {"ra-3"}


def test_a_layout_with_archives_is_taken_as_it_is(plugins: Path, tmp_path: Path) -> None:
    (plugins / "ranch-1.ez").touch()

    assert code_path(plugins, tmp_path / "links") == CodePath(plugins)


def test_a_directory_without_the_nodes_application_is_taken_as_it_is(tmp_path: Path) -> None:
    assert code_path(tmp_path, tmp_path / "links") == CodePath(tmp_path)


def test_of_a_real_installation_less_than_half_is_looked_through_first(tmp_path: Path) -> None:
    installation = find_or_fetch_rabbitmq(print)

    code = code_path(installation.plugins, tmp_path / "links")

    first = [path.name.rsplit("-", 1)[0] for path in code.first.iterdir()]
    assert {"rabbit", "rabbit_common", "ra"} <= set(first)
    assert len(first) < len(code.last)
