"""Who is compared, with which requirements and command, and what each keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """One of them. `worker`: its command; the first word is looked for in its environment."""

    name: str
    requirements: Sequence[str]
    worker: Sequence[str]
    keeps: str
    setting: str
    adapter: str = ""
    """Its file; the name where it is the same."""
    store: str = "database"
    python: tuple[int, int] = (3, 11)
    environment: Mapping[str, str] = field(default_factory=dict)


_ADAPTERS = "benchmarks.peers.adapters"

PEERS = (
    Peer(
        "pgqueuer",
        ("pgqueuer[asyncpg]~=1.6", "asyncpg", "uvloop"),
        ("python", "-m", f"{_ADAPTERS}.pgqueuer"),
        "deletes the job; a log row for each transition",
        "asyncpg, uvloop, batches of 500",
    ),
    Peer(
        "procrastinate",
        ("procrastinate~=3.10", "psycopg[binary,pool]"),
        ("procrastinate", f"--app={_ADAPTERS}.procrastinate.app", "worker", "--concurrency=10"),
        "rows, and a row for each event",
        "psycopg 3 binary, concurrency 10",
    ),
    Peer(
        "oban",
        ("oban~=0.7", "psycopg[binary,pool]"),
        ("python", "-m", f"{_ADAPTERS}.oban"),
        "rows",
        "psycopg 3 binary, queue of 200",
        python=(3, 12),
    ),
    Peer(
        "saq",
        ("saq[postgres]~=0.26", "psycopg[binary,pool]"),
        ("saq", f"{_ADAPTERS}.saq.settings", "--quiet"),
        "rows, for 10 minutes",
        "PostgreSQL, psycopg 3 binary, concurrency 20",
    ),
    Peer(
        "dramatiq",
        ("dramatiq[rabbitmq]~=2.2",),
        ("dramatiq", f"{_ADAPTERS}.dramatiq", "--processes", "1", "--threads", "8"),
        "nothing; publishes without confirms",
        "RabbitMQ, 1 process of 8 threads",
        store="broker",
    ),
    Peer(
        "taskiq",
        ("taskiq~=0.13", "taskiq-aio-pika~=0.6", "uvloop"),
        (
            "taskiq",
            "worker",
            f"{_ADAPTERS}.taskiq:broker",
            "--workers",
            "1",
            "--max-async-tasks",
            "200",
            "--log-level",
            "ERROR",
        ),
        "nothing; publishes with confirms",
        "RabbitMQ quorum queue, uvloop, 200 at once",
        store="broker",
    ),
    Peer(
        "celery",
        ("celery~=5.7",),
        (
            "celery",
            "-A",
            f"{_ADAPTERS}.celery",
            "worker",
            "--concurrency",
            "2",
            "--loglevel",
            "ERROR",
            "--without-gossip",
            "--without-mingle",
        ),
        "nothing; publishes without confirms",
        "RabbitMQ, prefork of 2 children, prefetch 128",
        store="broker",
    ),
)


def ours() -> tuple[Peer, ...]:
    """This one, with all events, ends only, none."""
    keeps = {
        "all": "rows; an event for each change, committed with it and confirmed",
        "final": "rows; an event for each end, committed with it and confirmed",
        "none": "rows",
    }
    return tuple(
        Peer(
            f"jobservice, {events}",
            (),
            ("python", "-m", "jobservice", "daemon", "--queue", "default", "--processes", "1", "--capacity", "200"),
            kept,
            f'uvloop, capacity 200, events = "{events}"',
            adapter="jobservice",
            environment={
                "BENCHMARK_EVENTS": events,
                "JOBSERVICE_JOBS__PACKAGES": f'["{_ADAPTERS}.jobservice"]',
                "JOBSERVICE_BROKER__PREFIX": "jobservice-peer",
                "JOBSERVICE_LOGS__LEVEL": "warning",
            },
        )
        for events, kept in keeps.items()
    )
