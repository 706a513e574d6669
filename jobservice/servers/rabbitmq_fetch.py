"""Fetches RabbitMQ without root: Debian's own packages, unpacked into the user's cache and never installed.

Owns `~/.cache/jobservice/rabbitmq`. Called by `installation.find_or_fetch` and, before any environment exists, by
`./dev` as a plain script: so it uses the standard library only and imports nothing of this package. apt resolves and
checks what is downloaded, in directories of its own; no package database is changed, no service is started, no
maintainer script runs. It never needs root, and does the same thing for root.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHOICES = (
    "three ways to a broker: install one (`brew install rabbitmq` on macOS), "
    "start one in a container (`docker compose up`), "
    "or name one that runs (JOBSERVICE_AMQP_URL=amqp://user:password@host:5672/)"
)
DOWNLOAD_SIZE = "about 34 MB"


class FetchError(Exception):
    """RabbitMQ cannot be fetched here; the text says why and what else can be done."""


def cache_root() -> Path:
    """The file tree of the unpacked packages: holds `usr/lib/erlang` and `usr/lib/rabbitmq` once fetched."""
    return _cache_directory() / "root"


def fetched() -> bool:
    """Whether a complete tree is there; it appears by one rename, so a half of one is never seen."""
    return cache_root().is_dir()


def fetch(*, offline: bool, announce: Callable[[str], None]) -> Path:
    """Return the unpacked tree, downloading it first when it is missing; one process does it, others wait for it.

    Raises FetchError: refused because of `offline`, no apt here, or apt failed.
    """
    if fetched():
        return cache_root()
    if offline:
        raise FetchError(f"RabbitMQ is not on this machine and downloads are forbidden (offline); {CHOICES}")
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise FetchError(f"RabbitMQ is not on this machine and there is no apt to fetch it with; {CHOICES}")
    with _one_at_a_time():
        if not fetched():
            announce(f"fetching RabbitMQ from this system's packages ({DOWNLOAD_SIZE}) into {_cache_directory()}")
            _fetch_packages()
    return cache_root()


def offline_asked() -> bool:
    """Whether JOBSERVICE_OFFLINE forbids downloads."""
    return os.environ.get("JOBSERVICE_OFFLINE", "").lower() not in {"", "0", "false", "no"}


def _cache_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jobservice" / "rabbitmq"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    directory = _cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_packages() -> None:
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=_cache_directory()) as scratch:
        work = Path(scratch)
        apt = _private_apt(work)
        _run([*apt, "-qq", "update"], work)
        _run([*apt, "-qq", "download", *_missing_packages(apt, work)], work / "packages")
        for package in sorted((work / "packages").glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(work / "root")], work)
        if not (work / "root" / "usr" / "lib" / "rabbitmq").is_dir():
            raise FetchError(f"apt brought no RabbitMQ; {CHOICES}")
        (work / "root").rename(cache_root())


def _private_apt(work: Path) -> list[str]:
    """apt-get with lists and archives of its own, so that it needs no rights and changes nothing of the system's."""
    for name in ("state/lists/partial", "cache/archives/partial", "packages", "root"):
        (work / name).mkdir(parents=True)
    options = {
        "Dir::State": work / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": work / "cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",  # else root's apt becomes _apt, which may not write into our directory
        "Acquire::Languages": "none",
    }
    return ["apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _missing_packages(apt: list[str], work: Path) -> list[str]:
    """rabbitmq-server and those of its dependencies that this system lacks, as apt resolves them."""
    plan = _run([*apt, "-s", "install", "--no-install-recommends", "rabbitmq-server"], work)
    return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise FetchError(f"fetching RabbitMQ failed ({' '.join(command[:1])}): {reason}\n{CHOICES}")
    return done.stdout


def _main() -> int:
    def say(line: object) -> None:
        print(line, file=sys.stderr)  # noqa: T201  -- a script of its own, before there is a terminal library

    # A shell that starts this in the background has it ignore Ctrl-C, which then would not end the download.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fetch(offline=offline_asked() or "--offline" in sys.argv[1:], announce=say)
    except FetchError as error:
        say(error)
        return 8
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
