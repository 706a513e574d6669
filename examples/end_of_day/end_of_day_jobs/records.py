"""What stands in the files, and in the tables."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel

from jobservice.batch import Column


class User(BaseModel):
    """A line of users.csv, which has a header."""

    id: Annotated[int, Column(name="User")]
    name: Annotated[str, Column(name="Full name")]
    city: Annotated[str | None, Column(name="City")] = None


class Trade(BaseModel):
    """A line of trades.tsv, which has none: its columns are known by their position."""

    loan: Annotated[int, Column(position=1)]
    user: Annotated[int, Column(position=2)]
    day: Annotated[date, Column(position=3, format="%d.%m.%Y")]
    amount: Annotated[Decimal, Column(position=4)]
    note: Annotated[str, Column(position=5)]


class Plan(BaseModel):
    """A line of the file that goes out: one of twelve repayments of a loan."""

    loan: Annotated[int, Column(name="Loan")]
    term: Annotated[int, Column(name="Term")]
    name: Annotated[str, Column(name="Full name")]
    due: Annotated[date, Column(name="Due", format="%Y%m%d")]
    amount: Annotated[Decimal, Column(name="Amount", format=".2f")]
