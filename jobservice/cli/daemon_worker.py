"""The program of one of several daemons: `python -m jobservice.cli.daemon_worker [--debug] LIFE CHANNEL`.

Started by the supervisor of `jobservice daemon --processes N`, never by hand: the two numbers are descriptors that it
left open, and all settings come from it. Ends as `jobservice daemon` does, with the same words and exit statuses.
"""

import os
import sys

import structlog
import typer
import uvloop

from jobservice import logs
from jobservice.cli.daemon import end_soon
from jobservice.cli.exits import told
from jobservice.config import Settings
from jobservice.pool.channel import ChannelClosed
from jobservice.supervision.superior import Superior


async def life(life_descriptor: int, channel_descriptor: int) -> None:
    """From the first message to the end of the daemon."""
    try:
        superior = await Superior.over(life_descriptor, channel_descriptor)
    except ChannelClosed:
        return  # the supervisor is gone already
    hello = superior.hello
    sys.path[:] = hello["path"]
    settings = Settings(**hello["settings"])
    logs.configure(settings.logs.level, settings.logs.format)
    structlog.contextvars.bind_contextvars(pid=os.getpid())  # several write to one stream
    # Imported here: where the supervisor's path says.
    from jobservice.service import run_daemon

    await run_daemon(settings, run=hello["run"], maintenance=hello["maintenance"], superior=superior)
    superior.left()
    end_soon()


def main() -> None:
    """Parse, run, and end with the status that tells of it."""
    *options, life_descriptor, channel_descriptor = sys.argv[1:]
    try:
        with told(debug="--debug" in options):
            uvloop.run(life(int(life_descriptor), int(channel_descriptor)))
    except typer.Exit as ending:
        sys.exit(ending.exit_code)


if __name__ == "__main__":
    main()
