"""`./dev bench`: servers, then what was asked for."""

import argparse
import asyncio
import sys

from benchmarks.peers.comparison import compare
from benchmarks.speed.arguments import parse
from benchmarks.speed.drains import Drain
from benchmarks.speed.figures import Figures
from benchmarks.speed.idleness import idle, idle_memory
from benchmarks.speed.installation import Installation, daemons, installation
from benchmarks.speed.latencies import bare_starts, starts, stops
from benchmarks.speed.machine import machine, versions
from benchmarks.speed.open_load import steady_load
from benchmarks.speed.submissions import by_amqp, by_client, by_sql
from benchmarks.speed.table import rows, show
from jobservice.servers.detect import servers

ONE = (Drain("all", costs=True), Drain("final", "final"), Drain("none", "none"))


async def rounds(made: Installation, arguments: argparse.Namespace, figures: Figures) -> int:
    """Every kind of drain in each round, so that a noisy machine is noisy for all. Gives the default capacity."""
    sizes = {"jobs": arguments.jobs, "tenants": arguments.tenants}
    capacity = arguments.capacity
    for _ in range(arguments.rounds):
        async with daemons(made, capacity=capacity) as pids:
            idle_memory(pids, figures)
            for each in ONE:
                await each.run(made, pids, figures, **sizes)
        async with daemons(made, capacity=None) as pids:
            default = await made.database.fetchval(
                "SELECT max(capacity) FROM jobservice.daemon WHERE stopped_at IS NULL"
            )
            await Drain("default").run(made, pids, figures, **sizes)
        async with daemons(made, count=2, capacity=capacity) as pids:
            await Drain("two").run(made, pids, figures, **sizes)
        async with daemons(made, processes=2, capacity=capacity) as pids:
            await Drain("processes").run(made, pids, figures, **sizes)
    return int(default)


async def one_daemon(made: Installation, arguments: argparse.Namespace, figures: Figures) -> None:
    """Latencies, single submissions and idleness of one daemon, when the drains have told its rate."""
    async with daemons(made, capacity=arguments.capacity) as pids:
        await made.resume()
        await made.settle()
        await starts(made, arguments.singles, figures)
        await bare_starts(made, arguments.singles, figures)
        await stops(made, arguments.singles, figures)
        await idle(made, pids, arguments.seconds, figures)
        rate = figures.median("confirmed all") / 2
        steady = await steady_load(made, rate=rate, seconds=arguments.seconds, tenants=arguments.tenants)
        figures.add("load", *steady.waits)
        figures.add("sql running", *await by_sql(made, arguments.seconds / 2))
        await made.quiet()
        figures.add("amqp running", *await by_amqp(made, arguments.seconds / 2))
        await made.quiet()
        figures.add("client running", *await by_client(made, arguments.seconds / 2))
        await made.settle()
    await made.pause()
    async with daemons(made, run=False):  # at rest: what comes before leaves the servers something to clear away
        figures.add("amqp", *await by_amqp(made, arguments.seconds / 2))
        figures.add("client", *await by_client(made, arguments.seconds / 2))
    figures.add("sql", *await by_sql(made, arguments.seconds / 2))


async def table(made: Installation, arguments: argparse.Namespace) -> Figures:
    """All rows."""
    figures = Figures()
    await head(made)
    default = await rounds(made, arguments, figures)
    await one_daemon(made, arguments, figures)
    print(
        f"{arguments.jobs:,} no-op jobs of {arguments.tenants} tenants a drain, {arguments.rounds} round(s), "
        "every event confirmed into a quorum queue"
    )
    show(figures, rows(arguments.capacity, default))
    return figures


async def peers(made: Installation, arguments: argparse.Namespace) -> bool:
    """The comparison; false where ours lost something."""
    await head(made)
    print(f"{arguments.jobs:,} no-op jobs a drain, one worker process each, {arguments.rounds} round(s) in turns")
    return await compare(made, arguments)


async def pictures(made: Installation, arguments: argparse.Namespace) -> Figures:
    """The pictures. Their library is looked for now: the table and the comparison do without."""
    from benchmarks.speed.pictures import draw

    await head(made)
    figures = await draw(made, arguments, arguments.plot)
    show(figures, [])
    return figures


async def head(made: Installation) -> None:
    """Where and with what."""
    print(machine())
    print(versions(await made.database.fetchval("SHOW server_version"), made.rabbitmq))


async def measure(arguments: argparse.Namespace) -> int:
    """What was asked for, on servers that run."""
    with servers(announce=lambda line: print(line, file=sys.stderr)) as running:
        async with installation(running, slow_commits=arguments.slow_commits) as made:
            if arguments.peers is not None:
                return 0 if await peers(made, arguments) else 1
            figures = await (table if arguments.plot is None else pictures)(made, arguments)
    return 1 if figures.problems else 0


def main() -> int:
    """The command."""
    return asyncio.run(measure(parse()))


if __name__ == "__main__":
    sys.exit(main())
