"""What there is to work on, and with which job class: found on this machine, so that the plan can be made."""

from importlib.util import find_spec

from jobservice.demo.failed import DemoFailed
from jobservice.demo.library import own_library
from jobservice.demo.plan import DIRECTORIES, Plan, planned

_OWN_JOBS = "jobservice.demo.jobs"
_READY_MADE = "workers"


def packages() -> tuple[str, ...]:
    """The packages of job classes that the daemon is to load: the ready-made one where it is installed."""
    return (_READY_MADE, _OWN_JOBS) if _ready_made() else (_OWN_JOBS,)


def plan_over_own_library() -> Plan:
    """The plan for the files of this interpreter's library. Raises DemoFailed where there are none."""
    directories = own_library(DIRECTORIES)
    if not directories:
        raise DemoFailed("this interpreter has no library of its own on disk; run the demo by another one (PYTHON=…)")
    return planned(directories, "ChecksumTree" if _ready_made() else "DigestTree")


def _ready_made() -> bool:
    return find_spec(_READY_MADE) is not None and find_spec(f"{_READY_MADE}.checksum_tree") is not None
