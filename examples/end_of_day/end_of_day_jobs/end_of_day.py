"""The job and its steps: files in, plans of each trade, one file out, delivered under a dated name."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated

from end_of_day_jobs.records import Plan, Trade, User
from end_of_day_jobs.tables import prepare, save_plans, save_trades, save_users, total
from jobservice import AbstractJob, At, Chunk, NotIdentifying, RetryPolicy, SkipPolicy, Task
from jobservice.batch import Checksum, CsvReader, CsvWriter, KeysetReader, TsvReader, copy, merge

CENT = Decimal("0.01")
OF_THE_DAY = """SELECT t.loan, u.name, t.traded, t.amount
                FROM eod_trade t JOIN eod_user u ON u.day = t.day AND u.id = t."user" WHERE t.day = $1"""
PLANS = "SELECT loan, term, name, due, amount FROM eod_plan WHERE day = $1"


def day_of(context):
    return [context.job.day]


def to_plans(context, trade):  # plain functions run on a thread; None filters the item out
    if trade["amount"] < 0:
        raise ValueError(f"loan {trade['loan']} has a negative amount")
    if trade["amount"] == 0:
        return None
    terms = context.job.terms
    each = (trade["amount"] / terms).quantize(CENT)
    amounts = [each] * (terms - 1) + [trade["amount"] - each * (terms - 1)]
    return [
        Plan(loan=trade["loan"], term=term, name=trade["name"], due=due(trade["traded"], term), amount=amount)
        for term, amount in enumerate(amounts, start=1)
    ]


def due(traded, term):
    return traded + timedelta(days=30 * term)


async def read_sums(context, after):  # a generator; `after` = last committed position or None
    query = """SELECT name, sum(amount) AS sum FROM eod_plan WHERE day = $1 AND name > $2
               GROUP BY name ORDER BY name"""
    async for row in context.connection.cursor(query, context.job.day, after or ""):
        yield At(row["name"], row)  # the position travels with the item


def to_statement(row):
    return (row["name"], f"{row['name']} owes {row['sum']:.2f}")


async def save_statements(context, statements):  # in the chunk's own transaction
    rows = [(context.job.day, name, text) for name, text in statements]
    await context.connection.executemany("INSERT INTO eod_statement VALUES ($1, $2, $3)", rows)


USERS = CsvReader("{directory}/users.csv", User)
TRADES = TsvReader("{directory}/trades.tsv", Trade, header=False)

BY_KEY = KeysetReader(PLANS, ("loan", "term"), Plan, arguments=day_of)
OUT = CsvWriter("{directory}/plans.csv", Plan, checksum=Checksum("md5"))
deliver = copy("{directory}/plans.csv", "{archive}/plans-{day:%Y%m%d}.csv", checksum=Checksum("md5"))


class EndOfDay(AbstractJob):
    """Parameters are fields here, because steps share them; all identify the instance unless marked."""

    day: date
    directory: str
    archive: str
    terms: int = 12
    note: Annotated[str, NotIdentifying] = ""
    steps = (
        Task("prepare", prepare, transaction=True),
        Chunk("users", read=USERS, write=save_users),
        Chunk("trades", read=TRADES, write=save_trades, size=1000, partitions=10),
        Chunk(
            "post",
            read=KeysetReader(OF_THE_DAY, "loan", arguments=day_of),
            process=to_plans,
            write=save_plans,
            size=500,
            partitions=8,
            retry=RetryPolicy(on=OSError, times=3),
            skip=SkipPolicy(on=ValueError, limit=10),
            aggregate=total,
        ),
        Chunk("state", read=read_sums, process=to_statement, write=save_statements),
        Chunk("export", read=BY_KEY, write=OUT, size=1000, partitions=10, aggregate=merge(OUT)),
        Task("deliver", deliver, retry=RetryPolicy(on=OSError, times=3)),
    )
