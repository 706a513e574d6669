"""The plan and the library it is made from: no file twice, no link followed, and enough work wherever there is any."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from records import good_record, some_plan

from jobservice.demo import library
from jobservice.demo.library import FILES_PER_JOB, own_library
from jobservice.demo.plan import CAPACITY, DIRECTORIES, ENDINGS, TENANTS, Part
from jobservice.demo.sample import compared
from jobservice.sdk.job_info import JobInfo


@pytest.mark.parametrize("directories", [1, 2, 7, DIRECTORIES, DIRECTORIES + 5])
def test_however_few_directories_there_are_each_tenant_has_more_jobs_than_fit_at_once(directories: int) -> None:
    plan = some_plan(directories)

    work = Counter(each.job.tenant for each in plan.together if each.part is Part.WORK)

    assert set(work) == set(TENANTS)
    assert min(work.values()) > CAPACITY


def test_every_part_is_played_and_the_number_of_jobs_is_told_beforehand() -> None:
    plan = some_plan()

    parts = {each.part for each in (*plan.together, plan.late, plan.expiring)} | {Part.FOREIGN}

    assert parts == set(ENDINGS)
    assert sum(plan.jobs_by_tenant.values()) == len(plan.together) + 3 == len(good_record().parts)


def test_the_foreign_message_holds_what_the_contract_asks_for_and_no_tenant() -> None:
    assert set(json.loads(some_plan().foreign)) == {"job_class", "parameters", "description", "owner"}


def test_this_interpreters_library_gives_work_for_all_and_no_file_twice() -> None:
    found = own_library(DIRECTORIES)

    assert sum(tree.files for tree in found) > 1_000
    assert all(0 < tree.files <= FILES_PER_JOB for tree in found)
    paths = [tree.path for tree in found]
    assert not any(one != other and one.is_relative_to(other) for one in paths for other in paths)
    assert len(set(paths)) == len(paths)


def test_links_are_not_followed_and_what_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "closed", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.py").write_text(name)
    (tmp_path / "library").mkdir()
    for name in ("good", "closed"):
        (tmp_path / name).rename(tmp_path / "library" / name)
    (tmp_path / "library" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "library" / "__pycache__").mkdir()
    paths = {"stdlib": str(tmp_path / "library"), "purelib": str(tmp_path / "missing")}
    monkeypatch.setattr(library.sysconfig, "get_paths", lambda: paths)
    (tmp_path / "library" / "closed").chmod(0)

    found = own_library(10)

    (tmp_path / "library" / "closed").chmod(0o700)
    readable = {"good", "closed"} if os.geteuid() == 0 else {"good"}
    assert {tree.name for tree in found} == readable


def test_the_sample_spreads_over_all_jobs_and_a_changed_or_vanished_file_differs(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    manifest = {f"{number:03}": empty for number in range(300)} | {"__pycache__/x.pyc": "gone meanwhile"}
    row = JobInfo("DigestTree", result={"root": str(tmp_path), "manifest": manifest})
    (tmp_path / "000").write_text("changed")
    (tmp_path / "005").unlink()

    sample = compared([row, JobInfo("ReadAnswer", result=None)])

    wrong = [Path(each.file).name for each in sample if each.by_job != each.by_hashlib]
    assert len(sample) == 60
    assert wrong == ["000", "005"]
