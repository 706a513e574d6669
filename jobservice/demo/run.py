"""`run_demo`: the demo from the first server to the last, as a table of contents."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from jobservice.demo.checks import judged
from jobservice.demo.daemon_process import DaemonProcess
from jobservice.demo.display import display_for
from jobservice.demo.installation import Installation
from jobservice.demo.interruption import Interruption
from jobservice.demo.performance import Performance
from jobservice.demo.place import own_place
from jobservice.demo.report import print_last_line, print_report
from jobservice.demo.summary import Summary, summed_up
from jobservice.demo.work import packages, plan_over_own_library
from jobservice.servers.detect import Servers, servers


def run_demo(
    *,
    database_url: str | None,
    amqp_url: str | None,
    as_json: bool,
    announce: Callable[[str], None],
    document: Callable[[dict[str, Any]], None],
) -> bool:
    """Play it, print the result, leave nothing behind; whether all checks hold.

    URLs as for `servers`; `announce` takes lines about servers, `document` the summary where it is wanted as JSON.
    Call it from the main thread. Raises DemoFailed, KeyboardInterrupt, and what `servers` raises.
    """
    began = time.monotonic()
    private = _Private(
        database=not (database_url or os.environ.get("JOBSERVICE_DATABASE_URL")),
        broker=not (amqp_url or os.environ.get("JOBSERVICE_AMQP_URL")),
    )
    with Interruption() as interruption:
        with own_place() as place, DaemonProcess(place) as daemon, ThreadPoolExecutor(1) as aside, ExitStack() as held:
            plan = aside.submit(plan_over_own_library)
            announce("three tenants, one daemon, real files" + (": starting servers" if any(private) else ""))
            with interruption.allowed():
                running = held.enter_context(servers(database_url=database_url, amqp_url=amqp_url, announce=announce))
            performance = Performance(
                installation=_installation(running, private, place),
                daemon=daemon,
                plan=plan,
                display=display_for(quiet=as_json),
            )
            record = interruption.run(performance.played())
            summary = summed_up(record, judged(record))
            if not as_json:
                print_report(summary)
            _tell_of_daemon(summary, daemon, announce)
        seconds = time.monotonic() - began
        if as_json:
            document(summary.document(record, seconds))
        else:
            print_last_line(summary, seconds)
    return summary.ok


class _Private(NamedTuple):
    """Which servers are the demo's alone."""

    database: bool
    broker: bool


def _installation(running: Servers, private: _Private, place: Path) -> Installation:
    return Installation(
        database_url=running.database_url,
        amqp_url=running.amqp_url,
        packages=packages(),
        workspace=place / "workspace",
        configuration=place / "jobservice.toml",
        database_is_private=private.database,
        broker_is_private=private.broker,
    )


def _tell_of_daemon(summary: Summary, daemon: DaemonProcess, announce: Callable[[str], None]) -> None:
    """Where a check does not hold, the reader wants to know what the daemon said; its log goes with the demo."""
    if not summary.ok:
        announce(f"the last lines of the daemon:\n{daemon.last_lines()}")
