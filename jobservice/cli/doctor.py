"""`doctor`: looks at everything that a working installation needs, says what is wrong, and what to do."""

import typer

from jobservice.cli.call import Call, command
from jobservice.cli.examinations import Finding, examine
from jobservice.cli.exits import Exit, tell
from jobservice.cli.output import fields_of

_COLUMNS = ("what", "well", "finding", "advice")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor")(doctor)


async def doctor(call: Call) -> int:
    """Check settings, database, schema, rights, broker and job classes: exit status 0 when all is well, else 1."""
    findings: list[Finding] = await examine(call.settings)
    call.output.rows([fields_of(finding) for finding in findings], _COLUMNS)
    wrong = [finding for finding in findings if finding.well is False]
    tell("all is well" if not wrong else f"{len(wrong)} things are wrong")
    return Exit.FAILED if wrong else Exit.OK
