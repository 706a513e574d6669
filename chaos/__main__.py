"""`./dev chaos [--seed N] [--minutes M] [--jobs N] [--pipelines N] [--daemons N] [--lease SECONDS] [--quick]`.

Daemons as processes, private servers, and a seeded schedule of faults: daemons killed, stopped, terminated; PostgreSQL
and RabbitMQ killed and restarted; the lines between them cut, silent and slow. Services submit, stop and restart jobs
all the while, and pipelines, which they pause and resume, too. Then it asks whether every promise was kept:
docs/reliability.md says which, and what the figures mean. `--keep DIRECTORY` keeps servers' data and daemons' logs.

A seed gives the same faults at the same moments and the same jobs; what they met differs with the machine.
Exit 1 when a promise was broken. `--quick` is for CI: about two minutes.
"""

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

from chaos.course import Course, Sizes
from chaos.main_thread import MainThread
from chaos.pipeline_plan import draw_pipelines
from chaos.plan import draw
from chaos.report import show
from jobservice.servers.stack import PrivateStack

QUICK_MINUTES, QUICK_JOBS, QUICK_PIPELINES, QUICK_DAEMONS, QUICK_PAUSE = 1.2, 1_500, 60, 2, 2.5


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="./dev chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="replays a schedule")
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults")
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--pipelines", type=int, default=1_000)
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--lease", type=float, default=3.0, help="daemon.lease, in seconds")
    parser.add_argument("--pause", type=float, default=6.0, help="seconds between two faults, on the average")
    parser.add_argument(
        "--quick", action="store_true", help="two minutes, two daemons, each kind of fault once or twice"
    )
    parser.add_argument("--keep", type=Path, help="keep servers' data and daemons' logs in this directory")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.minutes, arguments.jobs, arguments.pipelines = QUICK_MINUTES, QUICK_JOBS, QUICK_PIPELINES
        arguments.daemons, arguments.pause = QUICK_DAEMONS, QUICK_PAUSE
    return arguments


def main() -> int:
    """Servers, the course, the report."""
    arguments = parse()
    plan = draw(
        arguments.seed,
        seconds=arguments.minutes * 60,
        jobs=arguments.jobs,
        daemons=arguments.daemons,
        lease=arguments.lease,
        pause=arguments.pause,
    )
    pipelines = draw_pipelines(arguments.seed, seconds=arguments.minutes * 60, count=arguments.pipelines)
    print(
        f"seed {arguments.seed}: {len(plan.faults)} faults, {plan.jobs} jobs, {len(pipelines)} pipelines,"
        f" {arguments.daemons} daemons",
        flush=True,
    )
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # connections are lost by design
    main_thread = MainThread()
    with (
        tempfile.TemporaryDirectory(prefix="jobservice-chaos-", dir="/var/tmp") as place,
        PrivateStack(directory=arguments.keep, keep=arguments.keep is not None) as stack,
    ):
        directory = arguments.keep or Path(place)
        sizes = Sizes(seed=arguments.seed, daemons=arguments.daemons, lease=arguments.lease)
        course = Course(plan=plan, pipelines=pipelines, sizes=sizes, stack=stack, main=main_thread, directory=directory)
        outcome = main_thread.serve(course.run)
    show(outcome)
    return 0 if outcome.kept else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
