"""A real memory alarm of a private RabbitMQ: its limit is set to nothing, by a call to the node, and back."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from jobservice.servers.stack import PrivateStack

_PORT = "-erl_epmd_port"
_KNOWS_LOCALHOST = 'inet_db:add_host({127,0,0,1}, ["localhost"]), inet_db:set_lookup([file])'  # a bare system does not


@asynccontextmanager
async def memory_alarm(stack: PrivateStack) -> AsyncIterator[None]:
    """While it lasts the broker reads from no connection that publishes. The stack runs a broker alone."""
    (pid,) = stack.pids
    limit = await _call(pid, "vm_memory_monitor, get_vm_memory_high_watermark, []")
    await _set_limit(pid, "0.0")
    try:
        yield
    finally:
        await _set_limit(pid, limit)


async def _set_limit(pid: int, limit: str) -> None:
    answer = await _call(pid, f"vm_memory_monitor, set_vm_memory_high_watermark, [{limit}]")
    assert answer == "ok"


async def _call(pid: int, function: str) -> str:
    """As `rabbitmqctl` does it: by a node of its own, which knows cookie and port from the broker's process."""
    broker = psutil.Process(pid)
    environment, arguments = broker.environ(), broker.cmdline()
    calling = f"rpc:call({environment['RABBITMQ_NODENAME']}, {function})"
    command = [
        f"{environment['BINDIR']}/erlexec",
        *("-noinput", "-boot", "start_clean", "-sname", f"alarm{pid}@localhost", "-dist_listen", "false"),
        *("-start_epmd", "false", _PORT, arguments[arguments.index(_PORT) + 1], "-eval"),
        f'{_KNOWS_LOCALHOST}, io:format("~p", [{calling}]), halt().',
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return str(done.stdout).strip()
