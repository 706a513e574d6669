"""The tables of the end of day, and the functions that fill them: each in the transaction of its chunk."""

from collections.abc import Sequence
from typing import Any

from end_of_day_jobs.records import Plan, Trade, User

TABLES = """
CREATE TABLE IF NOT EXISTS eod_user (day date, id integer, name text NOT NULL, city text, PRIMARY KEY (day, id));
CREATE TABLE IF NOT EXISTS eod_trade (
  day date, loan integer, "user" integer NOT NULL, traded date NOT NULL, amount numeric NOT NULL, note text NOT NULL,
  PRIMARY KEY (day, loan)
);
CREATE TABLE IF NOT EXISTS eod_plan (
  day date, loan integer, term integer, name text NOT NULL, due date NOT NULL, amount numeric NOT NULL,
  PRIMARY KEY (day, loan, term)
);
CREATE TABLE IF NOT EXISTS eod_statement (day date, name text, text text NOT NULL, PRIMARY KEY (day, name))
"""


async def prepare(context: Any) -> None:
    """The tables, empty for this day: a new run begins with nothing."""
    # Two jobs that create the same table at once would fail.
    await context.connection.execute("SELECT pg_advisory_xact_lock(hashtext('end_of_day'))")
    await context.connection.execute(TABLES)
    for table in ("eod_user", "eod_trade", "eod_plan", "eod_statement"):
        await context.connection.execute(f"DELETE FROM {table} WHERE day = $1", context.job.day)


async def save_users(context: Any, users: Sequence[User]) -> None:
    """As they stand in the file."""
    rows = [(context.job.day, user.id, user.name, user.city) for user in users]
    await context.connection.copy_records_to_table("eod_user", records=rows)


async def save_trades(context: Any, trades: Sequence[Trade]) -> None:
    """As they stand in the file."""
    rows = [(context.job.day, each.loan, each.user, each.day, each.amount, each.note) for each in trades]
    await context.connection.copy_records_to_table("eod_trade", records=rows)


async def save_plans(context: Any, of_trades: Sequence[Sequence[Plan]]) -> None:
    """All plans of some trades."""
    rows = [
        (context.job.day, each.loan, each.term, each.name, each.due, each.amount)
        for plans in of_trades
        for each in plans
    ]
    await context.connection.copy_records_to_table("eod_plan", records=rows)


async def total(context: Any, parts: Sequence[Any]) -> str:
    """What the step is told to have done."""
    plans = await context.connection.fetchval("SELECT count(*) FROM eod_plan WHERE day = $1", context.job.day)
    context.shared["plans"] = plans
    return f"{plans} plans in {len(parts)} parts"
