"""The account a server runs under: the caller's own, or an unprivileged one where the caller is root.

PostgreSQL refuses to run as root. No account is made, no mode of an existing directory is changed.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group to run a child process under; `None` for both means the caller's own."""

    uid: int | None
    gid: int | None

    def popen_arguments(self) -> dict[str, Any]:
        """The arguments of `subprocess.Popen` that change to this account."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_run(self, program: Path) -> bool:
        """Whether this account reaches and can execute `program` (asked for its version)."""
        try:
            done = subprocess.run(
                [program, "--version"], cwd="/", capture_output=True, check=False, **self.popen_arguments()
            )
        except OSError:
            return False
        return done.returncode == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether this account, coming from the root directory, reaches `directory`."""
        if self.uid is None:
            return True
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)],
            cwd="/",
            capture_output=True,
            check=False,
            **self.popen_arguments(),
        )
        return done.returncode == 0

    def own(self, path: Path) -> None:
        """Give one file or directory to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """The account for a server that refuses root: `postgres` or else `nobody` when the caller is root."""
    if os.geteuid() != 0:
        return Account(None, None)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)
