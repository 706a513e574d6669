"""What figures were taken on: they say nothing without it."""

import os
import platform
from pathlib import Path

import jobservice


def machine() -> str:
    """Cores, processor, memory, and how busy it was before the first figure."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, load before {load}, {platform.platform()}"


def versions(postgresql: str, rabbitmq: str) -> str:
    """Ours and the servers'."""
    return (
        f"Python {platform.python_version()}, jobservice {jobservice.__version__}, "
        f"PostgreSQL {postgresql.split(maxsplit=1)[0]}, RabbitMQ {rabbitmq}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
