"""The command line of `./dev bench`."""

import argparse
from pathlib import Path

DESCRIPTION = """What daemons can do, on private servers or those of JOBSERVICE_DATABASE_URL and JOBSERVICE_AMQP_URL.

    ./dev bench                    the table: drains, submissions, latencies, idleness, what a job costs
    ./dev bench --quick            the same, small, for CI
    ./dev bench --peers            other Python job queues and this one, the same work on the same servers, in turns
    ./dev bench --plot DIRECTORY   pictures: throughput and latency against load, cost against the size of the table

Jobs do nothing: what is left is the service's own cost. Figures of different machines, or of different runs on a shared
one, do not compare; ratios of one run do. Exit 1 only where jobs or events are missing."""


def parse() -> argparse.Namespace:
    """The arguments, with the sizes that follow from `--quick`."""
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="2,000 jobs, one round, 20 singles")
    kind.add_argument("--peers", nargs="*", metavar="NAME", help="compare with all peers, or with those named")
    kind.add_argument("--plot", type=Path, metavar="DIRECTORY", help="write the pictures there")
    parser.add_argument("--jobs", type=int, help="jobs a drain (20,000; for --peers 5,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=200, help="jobs one at a time, for latencies")
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument(
        "--capacity", type=int, default=200, help="slots of a daemon, where the table does not vary them"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of steady load, and of idleness")
    parser.add_argument("--slow-commits", action="store_true", help="commits take 3 ms; needs a superuser")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.jobs, arguments.rounds, arguments.singles, arguments.seconds = 2_000, 1, 20, 2.0
    arguments.jobs = arguments.jobs or (20_000 if arguments.peers is None else 5_000)
    return arguments
