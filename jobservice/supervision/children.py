"""The child processes of this process: started in sessions of their own, and waited for, whoever's children they were.

All waiting is done here, for any child: as the first process of a container, this one is given the orphans of others.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Child:
    """A process. `ended` gives its exit status, or minus the signal that ended it."""

    process: "subprocess.Popen[bytes]"
    ended: "asyncio.Future[int]"

    @property
    def pid(self) -> int:
        """Its number; once it has ended it may be another's."""
        return self.process.pid

    def kill(self) -> None:
        """Ends it and all of its session that did not leave it, at once."""
        if not self.ended.done():  # not waited for yet: the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class Children:
    """Starts children while `waited_for()` is open."""

    def __init__(self) -> None:
        self._living: dict[int, Child] = {}

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """Nothing else in this process may wait for children meanwhile."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._wait)
        try:
            self._wait()
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCHLD)

    def start(self, command: Sequence[str], *, pass_fds: Sequence[int]) -> Child:
        """Raises OSError where no process can be had.

        A session of its own: the terminal's Ctrl-C is for this process, which gives its own orders.
        """
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=pass_fds, start_new_session=True)
        child = self._living[process.pid] = Child(process, asyncio.get_running_loop().create_future())
        return child

    def _wait(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self._living.pop(pid, None)
                if child is not None:
                    child.process.returncode = os.waitstatus_to_exitcode(status)  # or it would wait for it again
                    child.ended.set_result(child.process.returncode)
