"""What README, docs and examples say is true: links lead somewhere, commands parse, settings exist, code is that of the
examples, which other tests run."""

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import typer.main
from contracts import complaints, validator

from jobservice.broker.class_messages import class_event_message
from jobservice.broker.messages import event_message
from jobservice.broker.pipeline_messages import pipeline_event_message
from jobservice.cli.main import build
from jobservice.config import Settings
from jobservice.control.wire import read_command
from jobservice.domain.class_facts import ClassFact
from jobservice.domain.facts import Fact, JobCard
from jobservice.domain.pipeline_facts import PipelineFact, StageTold
from jobservice.domain.pipelines import PipelineStatus
from jobservice.domain.states import JobStatus
from jobservice.settings_sources import OTHER_VARIABLES, TEST_PREFIX, setting_names, variable_name

SUBMISSION, REPLY = validator("submission"), validator("reply")
ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = typer.main.get_command(build())
STOP_WORDS = {"|", "&&", "||", ";", ">", "<", "&", "(", ")"}
BEFORE = {"./dev", "uv", "run", "docker", "compose", "exec", "daemon", ".venv/bin/jobservice", "jobservice"}


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(*languages: str) -> list[Any]:
    """All fenced blocks of these languages, each a parameter named after its document."""
    return [
        pytest.param(body, id=f"{named(document)}-{number}")
        for document in DOCUMENTS
        for number, (language, body) in enumerate(FENCE.findall(document.read_text()))
        if language in languages
    ]


def spans(document: Path) -> list[str]:
    """What stands between single backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", document.read_text()))


# ------------------------------------------------------------------------------------------------------------ README


def test_readme_names_the_two_commands_that_show_it() -> None:
    shown = re.findall(r"^    (\S.*)$", FENCE.sub("", (ROOT / "README.md").read_text()), re.MULTILINE)

    assert shown == ["./dev demo", "./dev test"]
    assert "./dev test" in (ROOT / ".ci" / "run").read_text()


def test_readme_lists_every_setting_as_the_file_shows_it() -> None:
    section, rows = "", ["| setting | default | meaning |", "|---|---|---|"]
    for line in (ROOT / "config" / "jobservice.toml").read_text().splitlines():
        if table := re.fullmatch(r"\[(\w+)\]", line):
            section = f"{table[1]}."
        elif setting := re.fullmatch(r"(\w+) = (\S.*?)\s+# (.+)", line):
            rows.append(f"| `{section}{setting[1]}` | `{setting[2]}` | {setting[3]} |")

    assert "\n".join(rows) in (ROOT / "README.md").read_text(), "the table should be:\n" + "\n".join(rows)


def test_every_page_is_in_an_index() -> None:
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    decisions = {page.name for page in ROOT.glob("docs/decisions/0*.md")}

    assert {page for page in pages if f"({page})" not in (ROOT / "docs" / "index.md").read_text()} == set()
    assert {page for page in decisions if f"({page})" not in (ROOT / "docs/decisions/README.md").read_text()} == set()


# ------------------------------------------------------------------------------------------------- links and paths


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)

    assert dead == []


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_path_named_is_there(document: Path) -> None:
    tree = (
        "docs/",
        "examples/",
        "config/",
        "tests/",
        "jobservice/",
        "workers/",
        "benchmarks/",
        "chaos/",
        "requirements/",
        ".ci/",
    )
    paths = [span for span in spans(document) if span.startswith(tree) and " " not in span]

    missing = [
        path for path in paths if not (any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists())
    ]
    assert missing == []


# -------------------------------------------------------------------------------------------------------- commands


def shown_commands() -> Iterator[Any]:
    """Each command of a block or a span, as its words after `jobservice` or `./dev`."""
    for document in DOCUMENTS:
        text = document.read_text()
        lines = [line for language, body in FENCE.findall(text) if language == "sh" for line in body.splitlines()]
        for language, body in FENCE.findall(text):
            if language == "console":
                lines += [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]
        lines += re.findall(r"^    (\./dev .+|jobservice .+|uv run .+)$", FENCE.sub("", text), re.MULTILINE)
        for line in lines:
            for words in commands_in(line):
                yield pytest.param(words, True, id=f"{named(document)}: {' '.join(words)}")
        for span in spans(document):
            if re.match(r"(uv run )?jobservice [a-z]|\./dev [a-z]", span):
                for words in commands_in(span):
                    yield pytest.param(words, False, id=f"{named(document)}: `{span}`")


def commands_in(line: str) -> Iterator[list[str]]:
    """The calls of `jobservice` and `./dev` in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in STOP_WORDS:
            words.append(word)
            continue
        while words and "=" in words[0].split("/")[0]:
            words = words[1:]
        called = next(
            (place for place, each in enumerate(words) if each in ("jobservice", ".venv/bin/jobservice")), None
        )
        if words[:1] == ["./dev"]:
            yield words
        elif called is not None and set(words[:called]) <= BEFORE and words[:2] != ["docker", "run"]:
            yield ["jobservice", *words[called + 1 :]]
        words = []


DEV_WORDS = set(re.findall(r"^#   \./dev ([a-z-]+)", (ROOT / "dev").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("words", "complete"), list(shown_commands()))
def test_every_command_shown_is_understood(words: list[str], complete: bool) -> None:
    program, *arguments = words
    if program == "./dev" and arguments[0] in DEV_WORDS - {"up", "demo"}:
        return

    parse(COMMAND, arguments, complete)


def parse(command: Any, arguments: list[str], complete: bool) -> None:
    """Raises where the command line would end with status 2; of an incomplete one, names and options are looked at."""
    context = command.make_context("jobservice", list(arguments), resilient_parsing=False) if complete else None
    while hasattr(command, "commands"):
        if context is not None:
            name, command, arguments = command.resolve_command(context, context._protected_args + context.args)
            context = command.make_context(name, list(arguments), parent=context)
        else:
            name = next((word for word in arguments if not word.startswith("-")), None)
            if name is None:
                break
            assert name in command.commands, f"{name} is no command"
            command, arguments = command.commands[name], arguments[arguments.index(name) + 1 :]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in arguments if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    assert unknown == []


# -------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_setting_and_variable_named_exists(document: Path) -> None:
    known = set(setting_names(Settings))
    sections = {name.split(".")[0] for name in known if "." in name}
    variables = {variable_name(name) for name in known} | OTHER_VARIABLES

    settings = [span for span in spans(document) if re.fullmatch(rf"({'|'.join(sections)})\.[a-z_]+", span)]
    named_variables = re.findall(r"\bJOBSERVICE_[A-Z_]*[A-Z]\b", document.read_text())

    assert [name for name in settings if name not in known and not (ROOT / name).exists()] == []
    assert [name for name in named_variables if name not in variables and not name.startswith(TEST_PREFIX)] == []


@pytest.mark.parametrize("body", blocks("toml"))
def test_every_toml_block_is_a_configuration(body: str) -> None:
    Settings(**tomllib.loads(body))


# ------------------------------------------------------------------------------------------------------------ code


@pytest.mark.parametrize("body", blocks("python"))
def test_every_python_block_is_part_of_an_example(body: str) -> None:
    shown = stripped(body)

    for example in ROOT.glob("examples/**/*.py"):
        lines = stripped(example.read_text())
        if any(lines[start : start + len(shown)] == shown for start in range(len(lines))):
            return
    raise AssertionError("no example has these lines:\n" + body)


def stripped(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("body", blocks("sql"))
async def test_every_sql_block_is_understood_by_the_schema(body: str, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE invoices (number integer PRIMARY KEY)")
        for statement in body.split(";\n"):
            if statement.strip() not in ("BEGIN", "COMMIT", ""):
                await connection.prepare(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("body", blocks("json"))
async def test_every_json_block_is_what_the_service_takes_or_tells(body: str, database_url: str) -> None:
    for document in documents_in(body):
        first = document[0] if isinstance(document, list) else document
        if "specversion" in first:
            assert (document.keys(), document["data"].keys()) == (an_event().keys(), an_event()["data"].keys())
        elif first.get("kind") == "class":
            assert first.keys() == told_of_a_class().keys()
        elif "kind" in first:
            assert first.keys() == told_of_a_stage().keys()
        elif "command" in first:
            read_command(json.dumps(document).encode())
        elif "job_class" in first:
            await submitted(database_url, document)
        elif "pipeline" in first or "stages" in first or "jobs" in first:
            assert complaints(SUBMISSION, document) == []
        else:
            # An answer. That of /readyz is compared with a daemon's in the test of the examples.
            assert "loop_lag_seconds" in first or complaints(REPLY, document) == []


def documents_in(body: str) -> Iterator[Any]:
    """One document, or several behind each other."""
    decode: Callable[[str], tuple[Any, int]] = json.JSONDecoder().raw_decode
    rest = body.strip()
    while rest:
        document, end = decode(rest)
        yield document
        rest = rest[end:].strip()


def told_of_a_class() -> Any:
    fact = ClassFact(job_class="C", status="HELD", reason=None, time=datetime.now(UTC), sequence=1)
    return json.loads(class_event_message(fact).body)["data"]


def told_of_a_stage() -> Any:
    stage = StageTold(
        stage_id=uuid4(), stage_name="s", position=1, job_class=None, total=1, succeeded=0, failed=0, aborted=0,
        retried=0,
    )  # fmt: skip
    fact = PipelineFact(
        pipeline_id=uuid4(), stage=stage, tenant="t", name="n", status=PipelineStatus.RUNNING, sequence=3,
        previous_status=PipelineStatus.QUEUED, time=datetime.now(UTC), percent_completed=0, reason=None, owner=None,
        description=None, correlation_id=None, traceparent=None,
    )  # fmt: skip
    return json.loads(pipeline_event_message(fact).body)["data"]


def an_event() -> Any:
    card = JobCard(job_id=uuid4(), tenant="t", queue="q", job_class="C")
    fact = Fact(
        job_id=card.job_id, sequence=3, run=1, attempt=1, status=JobStatus.RUNNING, previous_status=JobStatus.TO_BE_RUN,
        time=datetime.now(UTC), priority=0, percent_completed=0, daemon_id=None,
    )  # fmt: skip
    return json.loads(event_message(card, fact).body)


async def submitted(database_url: str, document: Any) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetch("SELECT * FROM jobservice.submit($1::text::jsonb)", json.dumps(document))
    finally:
        await connection.close()
