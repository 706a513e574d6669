"""JSON Schemas of the messages, made from the models.

In the dialect of draft 7, which every validator knows and which AsyncAPI asks its tools to know.
"""

from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from jobservice.broker.class_messages import CLASS_DATA_SCHEMA
from jobservice.broker.messages import DATA_SCHEMA
from jobservice.broker.pipeline_messages import PIPELINE_DATA_SCHEMA
from jobservice.contract.class_event import ClassEvent, ClassEventData
from jobservice.contract.event import JobEvent, JobEventData
from jobservice.contract.pipeline_event import PipelineEvent, PipelineEventData
from jobservice.contract.replies import AnyReply, RejectedHeaders
from jobservice.contract.tree import AnySubmission
from jobservice.control.wire import AnyCommand

DIALECT: Final = "http://json-schema.org/draft-07/schema#"

UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
"""RFC 3339. The doors take a little more of ISO 8601."""
_FORMATS: Final = {"uuid": UUID_PATTERN, "date-time": DATE_PATTERN}

_MODELS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("submission", "urn:jobservice:schema:submission:1", AnySubmission),
    ("command", "urn:jobservice:schema:command:1", AnyCommand),
    ("reply", "urn:jobservice:schema:reply:1", AnyReply),
    ("rejected-headers", "urn:jobservice:schema:rejected-headers:1", RejectedHeaders),
    # CloudEvents' dataschema is the address of the schema of `data`.
    ("event", DATA_SCHEMA, JobEventData),
    ("event-message", "urn:jobservice:schema:event-message:1", JobEvent),
    ("pipeline-event", PIPELINE_DATA_SCHEMA, PipelineEventData),
    ("pipeline-event-message", "urn:jobservice:schema:pipeline-event-message:1", PipelineEvent),
    ("class-event", CLASS_DATA_SCHEMA, ClassEventData),
    ("class-event-message", "urn:jobservice:schema:class-event-message:1", ClassEvent),
)


def file_of(name: str) -> str:
    """The name of the file that has this schema."""
    return f"{name}.schema.json"


def schemas() -> dict[str, dict[str, Any]]:
    """File → JSON Schema."""
    return {file_of(name): _schema(address, model) for name, address, model in _MODELS}


class _WithoutTitles(GenerateJsonSchema):
    """Members say their name already."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _schema(address: str, model: Any) -> dict[str, Any]:
    written = TypeAdapter(model).json_schema(
        ref_template="#/definitions/{model}", schema_generator=_WithoutTitles, mode="validation"
    )
    definitions = written.pop("$defs", {})
    document = {"$schema": DIALECT, "$id": address, **_adapted(written)}
    document.setdefault("title", address.split(":")[-2].capitalize())
    if definitions:
        document["definitions"] = {name: _adapted(each) for name, each in definitions.items()}
    return document


def _adapted(node: Any) -> Any:
    """A schema of pydantic's in draft 7, without what only pydantic understands, and with formats that are checked."""
    if isinstance(node, list):
        return [_adapted(each) for each in node]
    if not isinstance(node, dict):
        return node
    adapted = {name: _adapted(value) for name, value in node.items()}
    if adapted.get("default", 0) is None:
        del adapted["default"]
    if isinstance(adapted.get("pattern"), str):
        adapted["pattern"] = adapted["pattern"].replace(r"\z", "$")
    if adapted.get("type") == "string" and adapted.get("format") in _FORMATS:
        adapted.setdefault("pattern", _FORMATS[adapted["format"]])
    if "$ref" in adapted and len(adapted) > 1:
        # Beside a reference, draft 7 reads nothing.
        adapted["allOf"] = [{"$ref": adapted.pop("$ref")}, *adapted.get("allOf", [])]
    return adapted
