"""Logs: one format for our lines and for libraries', to stderr, set up as often as one likes."""

import json
import logging
from collections.abc import Iterator
from uuid import UUID

import pytest
import structlog

from jobservice import logs

JOB_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_is_one_json_object_on_stderr_with_what_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json")

    with structlog.contextvars.bound_contextvars(correlation_id="c-1"):
        structlog.get_logger("jobservice.pool").info("job.start", job_id=JOB_ID, run=2)

    (line,) = json_lines(capsys)
    assert line["event"] == "job.start"
    assert (line["level"], line["run"], line["job_id"]) == ("info", 2, str(JOB_ID))
    assert (line["correlation_id"], line["logger"]) == ("c-1", "jobservice.pool")
    assert line["timestamp"].endswith("Z")


def test_a_library_that_uses_standard_logging_logs_in_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json")

    logging.getLogger("some.library").warning("lost %s", "connection", extra={"port": 5672})

    (line,) = json_lines(capsys)
    assert (line["event"], line["level"], line["logger"], line["port"]) == (
        "lost connection",
        "warning",
        "some.library",
        5672,
    )


def test_setting_up_twice_says_everything_once_and_takes_the_last_level(capsys: pytest.CaptureFixture[str]) -> None:
    logger = structlog.get_logger("jobservice")
    logs.configure(format="json", level="debug")
    logs.configure(format="json", level="warning")

    logger.info("job.claim")
    logger.warning("job.rescue")
    logging.getLogger("library").info("chatter")

    assert [line["event"] for line in json_lines(capsys)] == ["job.rescue"]


def test_an_exception_is_told_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json")

    try:
        raise ValueError("wrong turn")
    except ValueError:
        structlog.get_logger("jobservice").exception("loop.error")

    (line,) = json_lines(capsys)
    assert "ValueError: wrong turn" in line["exception"]
    assert "Traceback" in line["exception"]


def test_console_lines_are_for_reading_and_auto_means_json_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(format="console")
    structlog.get_logger("jobservice").info("job.finish", run=1)
    console = capsys.readouterr().err

    logs.configure(format="auto")
    structlog.get_logger("jobservice").info("job.finish", run=1)

    assert "job.finish" in console
    assert not console.startswith("{")
    assert json_lines(capsys)[0]["event"] == "job.finish"


def test_chatty_libraries_keep_quiet_until_debug_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="info")
    logging.getLogger("aiormq.connection").info("frame")
    logs.configure(format="json", level="debug")
    logging.getLogger("aiormq.connection").info("frame again")

    assert [line["event"] for line in json_lines(capsys)] == ["frame again"]
