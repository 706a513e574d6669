"""RunCommand: one program with its arguments, without a shell; its output as it comes, its whole family ended."""

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated, BinaryIO, Final

from pydantic import Field

from jobservice import AbstractJob

TAIL_BYTES: Final = 16_384
"""How much of the end of the output is kept."""
PIECE: Final = 65_536
"""How much of the output is taken in one turn of the loop."""
GRACE_SECONDS: Final = 5.0
"""From the request to end (SIGTERM) to the end (SIGKILL)."""
LAST_OUTPUT_SECONDS: Final = 1.0
"""How long the last output, or the end of a killed process, is waited for: either may never come."""


class CommandFailed(Exception):
    """The program ended with another status than 0; the text has the status and the end of the output."""


class CommandTimedOut(Exception):
    """The program ran longer than its `timeout`; the text has the end of the output."""


@dataclass(frozen=True, slots=True)
class CommandReport:
    """How a program ended. `output` is the end of stdout and stderr together, as text that can be stored."""

    exit_status: int
    output: str
    output_bytes: int
    """How much it wrote in all."""


class RunCommand(AbstractJob):
    """Runs `arguments[0]` with the rest as its arguments, in a process group of its own, with nothing on stdin.

    `environment` is added to the daemon's, from which JOBSERVICE_* is left out: it holds passwords. A non-zero exit
    fails the job. A stop, or `timeout` in seconds, ends the whole group, and so does the program's own end: nothing
    that it started in its group outlives it.
    """

    async def run(
        self,
        arguments: Annotated[list[str], Field(min_length=1)],
        environment: Mapping[str, str] = {},
        directory: Path | None = None,
        timeout: Annotated[float, Field(gt=0)] | None = None,
    ) -> CommandReport:
        output = OutputTail()
        with output_pipe(partial(self._take, output)) as (write_end, all_read):
            try:
                process = await _started(arguments, environment, directory, write_end)
                status = await _ended(process, timeout)
            except TimeoutError:
                raise CommandTimedOut(f"still running after {timeout:g} s\n{output.text}") from None
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_OUTPUT_SECONDS):
                    await all_read.wait()
        if status != 0:
            raise CommandFailed(f"{_told(status)}\n{output.text}")
        return CommandReport(exit_status=status, output=output.text, output_bytes=output.total)

    def _take(self, output: "OutputTail", some: bytes) -> None:
        """The output as it comes; the last of it is the job's progress message."""
        output.add(some)
        self.set_progress(message=output.text[-1_000:])


class OutputTail:
    """The last TAIL_BYTES of an output."""

    def __init__(self) -> None:
        self.total = 0
        self._tail = b""

    def add(self, some: bytes) -> None:
        """The next bytes of the output."""
        self.total += len(some)
        self._tail = (self._tail + some)[-TAIL_BYTES:]

    @property
    def text(self) -> str:
        """The tail as text: NUL and bytes that are not UTF-8 are written as escapes."""
        tail = self._tail
        if self.total > len(tail):
            # The cut may be inside a character; its rest is not one.
            tail = tail.lstrip(bytes(range(0x80, 0xC0)))
        return tail.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


@contextmanager
def output_pipe(take: Callable[[bytes], None]) -> Iterator[tuple[BinaryIO, asyncio.Event]]:
    """The writing end of a pipe, and the event of its end; `take` gets what is written, in the loop.

    None of asyncio's own for the process: with those, wait() waits for the pipe too, which a grandchild may hold. And
    no transport: uvloop's closes its descriptor by number, a turn of the loop after it was told to, when the number may
    be another's already: the pipe of the next program, or a connection.
    """
    loop = asyncio.get_running_loop()
    all_read = asyncio.Event()
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)

    def read() -> None:
        try:
            some = os.read(read_end, PIECE)
        except BlockingIOError:
            return
        if some:
            take(some)
        else:
            loop.remove_reader(read_end)
            all_read.set()

    with os.fdopen(write_end, "wb", buffering=0) as sink:
        loop.add_reader(read_end, read)
        try:
            yield sink, all_read
        finally:
            loop.remove_reader(read_end)
            os.close(read_end)


async def _started(
    arguments: list[str], environment: Mapping[str, str], directory: Path | None, output: BinaryIO
) -> asyncio.subprocess.Process:
    """The process; it alone holds the writing end of the pipe from here on."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JOBSERVICE_")}
    _check(directory)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=own | dict(environment),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A stop in the very moment of the start: what has been started is nobody's yet.
        await _end_group((await starting).pid)
        raise
    except OSError as error:
        # uvloop does not say which file it was.
        raise type(error)(error.errno, error.strerror, error.filename or arguments[0]) from None
    finally:
        output.close()


def _check(directory: Path | None) -> None:
    if directory is not None and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", os.fspath(directory))


async def _ended(process: asyncio.subprocess.Process, timeout: float | None) -> int:
    """The exit status, with the process's group gone, whatever ends the wait. Raises TimeoutError."""
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    finally:
        await _end_group(process.pid)


async def _end_group(group: int) -> None:
    """Ends all processes of the group: asked first, killed after the grace, or at once when this is cancelled too."""
    gone = not _signal(group, signal.SIGTERM)
    try:
        gone = gone or await _is_gone(group, GRACE_SECONDS)
    finally:
        if not gone:
            _signal(group, signal.SIGKILL)
    if not gone:
        await _is_gone(group, LAST_OUTPUT_SECONDS)


async def _is_gone(group: int, seconds: float) -> bool:
    """Whether nothing of the group is alive within this time."""
    deadline = monotonic() + seconds
    pause = 0.005
    while await asyncio.to_thread(_is_alive, group):
        if monotonic() >= deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.2)
    return True


def _is_alive(group: int) -> bool:
    return _signal(group, 0) and not _holds_only_zombies(group)


def _holds_only_zombies(group: int) -> bool:
    """Whether all that is left of the group has ended; where orphans are reaped late or never, that takes for ever."""
    if not Path("/proc/self/stat").exists():
        return False
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The program's name, in parentheses, may hold anything; state, parent and group follow it.
            state, _, its_group = process.read_bytes().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state not in (b"Z", b"X"):
                return False
    return True


def _signal(group: int, number: int) -> bool:
    """Whether there was anything in the group to send it to."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def _told(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
