"""A claim that moves the bounds of its looks every time, as under an old snapshot: few rows suffice to try them."""

import re

import asyncpg

from jobservice.store.schema import ddl

_CLAIM = re.compile(r"^CREATE OR REPLACE FUNCTION claim\(.*?^END \$\$;", re.MULTILINE | re.DOTALL)
_PATIENCE = re.compile(r"(patience +CONSTANT integer := )\d+;")
_MOST_CALLS = re.compile(r"(most_calls +CONSTANT integer := )\d+;")


async def replace_claim(connection: asyncpg.Connection, *, impatient: bool, most_calls: int | None = None) -> None:
    """The claim as it is shipped, or without any patience, or taking in few calls at a time."""
    [claim] = _CLAIM.findall(ddl())
    if impatient:
        claim, replaced = _PATIENCE.subn(r"\g<1>-1000000;", claim)
        assert replaced == 1
    if most_calls is not None:
        claim, replaced = _MOST_CALLS.subn(rf"\g<1>{most_calls};", claim)
        assert replaced == 1
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = jobservice, pg_temp")
        await connection.execute(claim)
