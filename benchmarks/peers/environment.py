"""A peer's own environment: made once in the user's cache, used again as long as its requirements are the same."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.roster import Peer

_TRIED = ("python3.14", "python3.13", "python3.12", "python3.11")
TIMEOUT = 300.0


class NotInstallable(Exception):
    """Its message says why a peer cannot be had here."""


def programs(peer: Peer) -> Path:
    """The directory of the peer's programs, installed where they are not. Raises NotInstallable."""
    if not peer.requirements:
        return Path(sys.executable).parent
    python = _python(peer)
    recipe = hashlib.sha256(repr((peer.requirements, python)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "jobservice" / "peers" / f"{peer.name}-{recipe}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        _install(peer, python, place)
        (place / "complete").touch()
    return place / "bin"


def version(peer: Peer, directory: Path) -> str:
    """What was installed."""
    if not peer.requirements:
        return ""
    script = f"import importlib.metadata as m; print(m.version({peer.name!r}))"
    return subprocess.run(
        [directory / "python", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def _python(peer: Peer) -> str:
    """An interpreter that is new enough: our own where it is."""
    if sys.version_info[:2] >= peer.python:
        return sys.executable
    wanted = ".".join(map(str, peer.python))
    script = f"import sys; print(sys.executable) if sys.version_info[:2] >= {peer.python} else sys.exit(1)"
    for candidate in _candidates():
        tried = subprocess.run([candidate, "-c", script], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return tried.stdout.strip()
    raise NotInstallable(f"needs Python {wanted} or newer, and there is none")


def _candidates() -> list[str]:
    """On the path, where one may be a shim that leads nowhere, and below pyenv."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted((root / "versions").glob("3.1[1-9].*/bin/python"), reverse=True)
    return [found for name in _TRIED if (found := shutil.which(name))] + [str(each) for each in kept]


def _install(peer: Peer, python: str, place: Path) -> None:
    uv = next((str(each) for each in _uvs() if each.exists()), None) or shutil.which("uv")
    into = str(place / "bin" / "python")
    if uv:
        _run([uv, "venv", "--quiet", "--python", python, str(place)])
        _run([uv, "pip", "install", "--quiet", "--python", into, *peer.requirements])
    else:
        _run([python, "-m", "venv", str(place)])
        _run([into, "-m", "pip", "install", "--quiet", *peer.requirements])


def _uvs() -> list[Path]:
    return [Path(sys.prefix) / "bin" / "uv", Path(sys.prefix) / "tools" / "bin" / "uv"]


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"not installed within {TIMEOUT:.0f} s") from error
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NotInstallable(said[-1] if said else "the installer said nothing") from error
