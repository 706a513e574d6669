"""What the client tells inside somebody else's program."""

import subprocess
import sys

PROGRAM = """
import {imports}
{set_up}
from jobservice.broker.host_log import host_log
host_log("jobservice.client").info("broker.connect", link="x")
host_log("jobservice.client").warning("broker.lost", link="x")
"""


def told(imports: str, set_up: str) -> tuple[str, str]:
    program = PROGRAM.format(imports=imports, set_up=set_up)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_program_that_set_nothing_up_sees_warnings_only_and_not_on_standard_output() -> None:
    out, err = told("logging", "")

    assert out == ""
    assert "broker.connect" not in err
    assert "event='broker.lost' link='x'" in err


def test_a_program_with_its_own_logging_decides_by_its_own_level() -> None:
    out, err = told("logging", "logging.basicConfig(level=logging.INFO)")

    assert out == ""
    assert "INFO:jobservice.client:event='broker.connect'" in err


def test_a_program_with_structlog_gets_the_lines_there() -> None:
    out, err = told("structlog", "structlog.configure(processors=[structlog.processors.JSONRenderer()])")

    assert '"event": "broker.connect"' in out
    assert err == ""
