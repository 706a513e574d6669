"""What `up` does: servers, schema and daemons of one owner, up until a signal, then down in order."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import asyncpg

from jobservice.cli.call import Call
from jobservice.cli.daemon_processes import DaemonProcesses
from jobservice.cli.exits import tell
from jobservice.cli.output import encode
from jobservice.client.service import JobInfoService
from jobservice.servers.stack import PrivateStack
from jobservice.store import schema as stored

_LOOK = 0.2


def keep_up(call: Call, *, daemons: int, directory: Path | None) -> None:
    """Start all, say where it is, and wait; Ctrl-C or SIGTERM stops all."""
    schema, prefix = call.settings.database.schema_name, call.settings.broker.prefix
    with _until_told_to_stop() as told, PrivateStack(directory, keep=directory is not None, announce=tell) as stack:
        asyncio.run(_apply_schema(stack.database_url, schema))
        processes = DaemonProcesses(
            count=daemons, database_url=stack.database_url, amqp_url=stack.amqp_url, arguments=_passed_on(call)
        )
        with processes.running():
            urls = asyncio.run(_ready(processes, stack.database_url, schema, prefix))
            _print(call, stack, processes, urls)
            while not told.wait(_LOOK):
                processes.check()


async def _apply_schema(database_url: str, schema: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await stored.apply(connection, schema)
    finally:
        await connection.close()


async def _ready(processes: DaemonProcesses, database_url: str, schema: str, prefix: str) -> list[str]:
    async with JobInfoService.connect(database_url, schema=schema, prefix=prefix) as jobs:
        return await processes.until_ready(jobs)


def _passed_on(call: Call) -> list[str]:
    given = ["--config", str(call.config)] if call.config else []
    return [*given, "--debug"] if call.debug else given


def _print(call: Call, stack: PrivateStack, processes: DaemonProcesses, http_urls: list[str]) -> None:
    urls = {"database_url": stack.database_url, "amqp_url": stack.amqp_url}
    if call.json:
        call.output.text(encode({**urls, "daemon_pids": processes.pids, "http_urls": http_urls}))
        return
    for line in stack.describe():
        tell(line)
    for pid, url in zip(processes.pids, http_urls, strict=True):
        tell(f"daemon {pid}: {url}/readyz")
    tell("in another terminal:")
    for name, url in urls.items():
        call.output.text(f"export JOBSERVICE_{name.upper()}='{url}'")
    tell("Ctrl-C stops all")


@contextlib.contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    """The first Ctrl-C or SIGTERM interrupts whatever goes on; further ones do not disturb the stopping."""
    told = threading.Event()

    def tell_once(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not told.is_set():
            told.set()
            tell("stopping")
            raise KeyboardInterrupt

    before = {number: signal.signal(number, tell_once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    except KeyboardInterrupt:
        tell("all is stopped")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
