"""A database of the file's own, connections to it, and its schedules."""

import pytest
from databases import Connect, connect, database_url, module_database_url
from scheduled import Schedules

from jobservice.schedules.firing import Firing
from jobservice.schedules.table import ScheduleTable

__all__ = ["connect", "database_url", "module_database_url"]


@pytest.fixture
async def schedules(connect: Connect) -> Schedules:
    return Schedules(await connect(), ScheduleTable(schema="jobservice"), Firing(schema="jobservice"))
