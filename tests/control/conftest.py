"""The fixtures of all doors."""

from doors import connection, consume, foreign, link, names, proxy, session

__all__ = ["connection", "consume", "foreign", "link", "names", "proxy", "session"]
