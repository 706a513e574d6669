"""The logger of code that runs inside somebody else's program.

Where that program has set structlog up, lines go there; else to the standard `logging`, under its rules, so that
nothing appears on standard output unasked.
"""

import logging
from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger


def host_log(name: str) -> FilteringBoundLogger:
    """A logger for `name`. Ask when it is first needed, not at import: the host may set logging up later."""
    if structlog.is_configured():
        return cast("FilteringBoundLogger", structlog.get_logger(name))
    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event"])],
            wrapper_class=structlog.stdlib.BoundLogger,
        ),
    )
