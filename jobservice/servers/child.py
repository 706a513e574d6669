"""One child process that serves: started in a session of its own, bound to its parent's life, logging to a file.

Used by the servers of this package. It knows nothing of what the process serves.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobservice.servers.account import Account

LOG_TAIL_LINES = 30
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A server's process and its log; may be started again after it ended."""

    def __init__(self, *, log: Path, stop_signal: signal.Signals) -> None:
        self._log = log
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid is not None

    def start(
        self, command: Sequence[str | Path], *, env: Mapping[str, str], directory: Path, account: Account
    ) -> None:
        """Start the process. Call it from the main thread: on Linux it ends with the thread that started it.

        A session of its own keeps the terminal's Ctrl-C for the parent, which then stops its servers in order.
        """
        self._dismiss_watcher()
        with self._log.open("ab") as log, _interrupts_deferred():
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent(self._stop_signal),  # noqa: PLW1509  -- runs one system call
                **account.popen_arguments(),
            )
        if _LIBC is None:
            self._watcher = _watch(self._process.pid, self._stop_signal)

    def ask_to_stop(self, how: signal.Signals | None = None) -> None:
        """Send the stop signal (or another one) if the process is there; does not wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how or self._stop_signal)

    def wait(self, timeout: float) -> int | None:
        """Wait for the end and return the exit status; past `timeout` seconds the whole session is killed."""
        if self._process is None:
            return None
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._dismiss_watcher()
        return self._process.returncode

    def kill(self) -> None:
        """End the process and its helpers at once, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._dismiss_watcher()

    def log_tail(self) -> str:
        """The last lines that the process wrote since its last start."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _dismiss_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.communicate(b"dismissed\n")
            self._watcher = None


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """An interrupt between a child's birth and the moment we hold it would leave it without anyone to stop it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """Asks Linux to send `stop_signal` when the parent dies, however it dies; nothing elsewhere."""
    libc, parent = _LIBC, os.getpid()
    if libc is None:
        return None

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(stop_signal))
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return arrange


def _watch(pid: int, stop_signal: signal.Signals) -> subprocess.Popen[bytes]:
    """Without such a system call: a shell that signals the child when the pipe from this process closes unsaid."""
    script = f"read _ || kill -{int(stop_signal)} {pid}"
    return subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
