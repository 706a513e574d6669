"""The fixtures of all doors."""

from databases import connect, connection, database_url, module_database_url
from doors import consume, foreign, link, names, proxy, session

__all__ = [
    "connect",
    "connection",
    "consume",
    "database_url",
    "foreign",
    "link",
    "module_database_url",
    "names",
    "proxy",
    "session",
]
