"""Connections to the database of a test."""

from databases import connect, connection

__all__ = ["connect", "connection"]
