"""The fixtures of all doors."""

from databases import connect, connection
from doors import consume, foreign, link, names, proxy, session

__all__ = ["connect", "connection", "consume", "foreign", "link", "names", "proxy", "session"]
