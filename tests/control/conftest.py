"""The fixtures of all doors, and a control door that is open."""

from commanding import ask, drains, open_door
from databases import connect, connection, database_url, module_database_url
from doors import consume, foreign, link, names, proxy, session

__all__ = [
    "ask",
    "connect",
    "connection",
    "consume",
    "database_url",
    "drains",
    "foreign",
    "link",
    "module_database_url",
    "names",
    "open_door",
    "proxy",
    "session",
]
