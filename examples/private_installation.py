"""Private servers and a daemon for an example that is one program: `jobservice up`, ended with it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Installation:
    """Where its servers are."""

    database_url: str
    amqp_url: str

    @property
    def exports(self) -> str:
        """What another terminal needs to see it."""
        return f"export JOBSERVICE_DATABASE_URL='{self.database_url}'\nexport JOBSERVICE_AMQP_URL='{self.amqp_url}'"


@contextlib.contextmanager
def installation(config: Path) -> Iterator[Installation]:
    """Servers, the schema and a daemon with these settings; all are gone at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
    environment["PYTHONPATH"] = os.fspath(ROOT)
    command = [sys.executable, "-m", "jobservice", "up", "--json", "--config", os.fspath(config)]
    # In a group of its own: a Ctrl-C is this program's, which ends the servers when it is done with them.
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, process_group=0) as up:
        try:
            assert up.stdout is not None
            line = up.stdout.readline()
            if not line:
                raise SystemExit("`jobservice up` did not start; it says why above")
            ready = json.loads(line)
            yield Installation(ready["database_url"], ready["amqp_url"])
        finally:
            up.terminate()
            up.wait()
