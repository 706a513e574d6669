"""The demo's daemon as a program: imports all that a daemon needs, then waits for its settings.

So it is ready to go as soon as the servers are. `python -m jobservice.demo.daemon_program PIPE`: the pipe brings the
environment as one JSON object.
"""

import json
import os
import sys
from pathlib import Path

import uvloop

from jobservice import logs
from jobservice.config import Settings
from jobservice.service import run_daemon


def main(pipe: Path) -> None:
    """Wait for the environment, then run the daemon until SIGTERM."""
    os.environ.update(json.loads(pipe.read_text()))
    settings = Settings.load()
    logs.configure(settings.logs.level, settings.logs.format)
    uvloop.run(run_daemon(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
