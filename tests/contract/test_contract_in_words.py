"""The tables of the documents against the contract: each command, each field and each method stands in one."""

import re
from itertools import dropwhile, takewhile

import pytest
from contracts import CONTRACT, command_words, fields_of

from jobservice.client.pipelines import Pipelines

DOCS = CONTRACT.parent


def first_cells(document: str, heading: str) -> list[str]:
    """What stands in backticks in the first column of the table below a heading, or below such a first cell."""
    lines = (DOCS / document).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(heading))
    rows = takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines[start:]))
    return sorted(word for row in rows for word in re.findall(r"`(\w+)", row.split(" | ")[0]))


def test_each_command_stands_in_a_table_of_the_documents() -> None:
    tables = ("## On jobs", "## On pipelines and stages", "## On schedules", "## On tenants, queues and daemons")

    assert sorted(word for table in tables for word in first_cells("commands.md", table)) == command_words()


@pytest.mark.parametrize(
    ("document", "heading", "model"),
    [
        ("submission.md", "| field |", "Submission"),
        ("pipelines.md", "| pipeline |", "PipelineFields"),
        ("pipelines.md", "| stage |", "StageSubmission"),
    ],
)
def test_each_field_stands_in_a_table_of_the_documents(document: str, heading: str, model: str) -> None:
    assert first_cells(document, heading) == fields_of(model)


def test_each_method_of_the_pipelines_of_a_client_stands_in_a_table_of_the_documents() -> None:
    public = sorted(name for name in vars(Pipelines) if not name.startswith("_"))

    assert first_cells("pipelines.md", "## From Python") == public
