"""Rules for what users write: names, priorities, texts. The SQL function `submit` checks the same rules."""

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Tenants, queues and job classes: one word of a routing key, so no dot."""

DEFAULT_TENANT: Final = "default"
DEFAULT_QUEUE: Final = "default"

PRIORITIES: Final = {"VERY_LOW": -200, "LOW": -100, "MEDIUM": 0, "HIGH": 100, "VERY_HIGH": 200}

TEXT_MAX: Final = 10_000
"""Longest error message that is stored, in characters."""
STACK_TRACE_MAX: Final = 50_000


def is_name(text: str) -> bool:
    """Whether `text` may name a tenant, a queue or a job class."""
    return NAME.fullmatch(text) is not None


def clean_text(text: str, limit: int = TEXT_MAX) -> str:
    """`text` as PostgreSQL and JSON can hold it: no NUL, no lone surrogate, at most `limit` characters."""
    cleaned = text.replace("\x00", "\\x00")
    if not cleaned.isascii():
        cleaned = cleaned.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(cleaned) <= limit:
        return cleaned
    half = (limit - 20) // 2
    return f"{cleaned[:half]}\n… cut …\n{cleaned[-half:]}"
