"""Schedules in the database: their table, and the one transaction in which a tick fires."""
