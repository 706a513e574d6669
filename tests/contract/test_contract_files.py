"""The files of `docs/contract` are those that the models make, and each is a valid document of its kind."""

from collections.abc import Iterator
from typing import Any

import pytest
from contracts import CONTRACT, document
from jsonschema import Draft7Validator

from jobservice.broker.class_messages import CLASS_DATA_SCHEMA
from jobservice.broker.messages import DATA_SCHEMA
from jobservice.broker.pipeline_messages import PIPELINE_DATA_SCHEMA
from jobservice.contract.__main__ import main, texts

SCHEMAS = sorted(file.name for file in CONTRACT.glob("*.schema.json"))


def test_the_files_are_those_that_the_models_make() -> None:
    assert {file.name: file.read_text() for file in CONTRACT.glob("*.json")} == texts(), "write them with ./dev schemas"


def test_writing_them_makes_what_is_missing(tmp_path: Any) -> None:
    main(tmp_path / "new" / "directory")

    assert {file.name for file in (tmp_path / "new" / "directory").iterdir()} == set(texts())


@pytest.mark.parametrize("file", SCHEMAS)
def test_each_schema_is_one_of_draft_7(file: str) -> None:
    schema = document(file)

    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_schema_holds_all_that_it_refers_to_and_nothing_stands_beside_a_reference(file: str) -> None:
    schema = document(file)

    for node in objects(schema):
        if "$ref" in node:
            assert list(node) == ["$ref"]
            assert isinstance(found(schema, node["$ref"]), dict)


def test_the_addresses_are_all_different_and_carry_the_version_of_the_whole() -> None:
    addresses = [document(file)["$id"] for file in SCHEMAS]

    major = document("asyncapi.json")["info"]["version"].split(".")[0]
    assert len(set(addresses)) == len(addresses) == 10
    assert {address.rpartition(":")[2] for address in addresses} == {major}


def test_the_address_in_each_event_is_that_of_the_schema_of_its_data() -> None:
    for name, address, model in (
        ("event", DATA_SCHEMA, "JobEventData"),
        ("pipeline-event", PIPELINE_DATA_SCHEMA, "PipelineEventData"),
        ("class-event", CLASS_DATA_SCHEMA, "ClassEventData"),
    ):
        data, message = document(f"{name}.schema.json"), document(f"{name}-message.schema.json")

        assert data["$id"] == address == message["properties"]["dataschema"]["const"]
        assert message["definitions"][model]["properties"] == data["properties"]


# -------------------------------------------------------------------------------------------------------- AsyncAPI


def test_the_asyncapi_document_is_built_as_version_3_says() -> None:
    complaints = [
        f"{list(error.absolute_path)}: {error.message}" for error in ASYNCAPI.iter_errors(document("asyncapi.json"))
    ]

    assert complaints == []


@pytest.mark.parametrize("broken", ["asyncapi", "info", "reply", "binding"])
def test_what_is_built_otherwise_is_found(broken: str) -> None:
    wrong = document("asyncapi.json")
    if broken == "reply":
        wrong["operations"]["submit"]["replyTo"] = {}
    elif broken == "binding":
        wrong["channels"]["events"]["bindings"]["amqp"]["queue"] = {"name": "q"}
    else:
        del wrong[broken]

    assert not ASYNCAPI.is_valid(wrong)


def test_what_it_refers_to_is_in_the_document_or_a_schema_beside_it() -> None:
    whole = document("asyncapi.json")

    references = [node["$ref"] for node in objects(whole) if "$ref" in node]
    for reference in references:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in SCHEMAS
        else:
            assert isinstance(found(whole, reference), dict), reference
    assert {each.removeprefix("./") for each in references if each.startswith("./")} == {*SCHEMAS} - {
        "event.schema.json",
        "pipeline-event.schema.json",
        "class-event.schema.json",
    }


def test_each_operation_uses_messages_of_its_channel_and_each_parameter_is_in_the_address() -> None:
    whole = document("asyncapi.json")

    for operation in whole["operations"].values():
        for place in (operation, operation.get("reply", operation)):
            assert all(each["$ref"].startswith(place["channel"]["$ref"] + "/messages/") for each in place["messages"])
    for channel in whole["channels"].values():
        for parameter in channel.get("parameters", {}):
            assert f"{{{parameter}}}" in channel["address"]


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(inner)


def found(whole: Any, reference: str) -> Any:
    for word in reference.removeprefix("#/").split("/"):
        whole = whole[word]
    return whole


def _object(required: str = "", optional: str = "", **members: Any) -> dict[str, Any]:
    """An object with these members and no others; those without a schema may be any text."""
    names = [*required.split(), *optional.split()]
    return {
        "type": "object",
        "properties": {name: members.get(name, {"type": "string"}) for name in names},
        "required": required.split(),
        "additionalProperties": False,
    }


def _map(each: Any) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {r"^[\w.-]+$": each}, "additionalProperties": False}


_FLAG = {"type": "boolean"}
_REFERENCE = _object("$ref")
_REFERENCES = {"type": "array", "items": _REFERENCE}
_ADDRESS = {"type": ["string", "null"]}
_EXPRESSION = _object("location", "description", location={"pattern": r"^\$message\.(header|payload)#/"})
_BINDING_OF_A_CHANNEL = {
    "oneOf": [
        _object(
            "is exchange", "bindingVersion",
            **{"is": {"const": "routingKey"}, "bindingVersion": {"const": "0.3.0"}},
            exchange=_object("name type", "durable autoDelete", type={"enum": ["topic", "direct", "fanout", "headers"]},
                             durable=_FLAG, autoDelete=_FLAG),
        ),
        _object(
            "is queue", "bindingVersion",
            **{"is": {"const": "queue"}, "bindingVersion": {"const": "0.3.0"}},
            queue=_object("name", "durable exclusive autoDelete", durable=_FLAG, exclusive=_FLAG, autoDelete=_FLAG),
        ),
    ]
}  # fmt: skip
_BINDING_OF_AN_OPERATION = _object(
    "", "deliveryMode mandatory bindingVersion",
    deliveryMode={"enum": [1, 2]}, mandatory=_FLAG, bindingVersion={"const": "0.3.0"},
)  # fmt: skip
_CHANNEL = _object(
    "address messages", "title description parameters bindings",
    address=_ADDRESS, messages=_map(_REFERENCE), parameters=_map(_object("", "description")),
    bindings=_object("amqp", amqp=_BINDING_OF_A_CHANNEL),
)  # fmt: skip
_REPLY = _object("channel", "address messages", channel=_REFERENCE, address=_EXPRESSION, messages=_REFERENCES)
_OPERATION = _object(
    "action channel", "messages summary bindings reply",
    action={"enum": ["send", "receive"]}, channel=_REFERENCE, messages=_REFERENCES, reply=_REPLY,
    bindings=_object("amqp", amqp=_BINDING_OF_AN_OPERATION),
)  # fmt: skip
_MESSAGE = _object(
    "", "title summary description contentType payload headers correlationId",
    payload=_REFERENCE, headers=_REFERENCE, correlationId=_EXPRESSION,
)  # fmt: skip
ASYNCAPI = Draft7Validator(
    _object(
        "asyncapi info", "id defaultContentType servers channels operations components",
        asyncapi={"const": "3.0.0"}, id={"pattern": "^urn:"},
        info=_object("title version", "description license", license=_object("name")),
        servers=_map(_object("host protocol", "protocolVersion description")),
        channels=_map(_CHANNEL), operations=_map(_OPERATION),
        components=_object("", "messages", messages=_map(_MESSAGE)),
    )
)  # fmt: skip
"""The parts of AsyncAPI 3.0.0 and its AMQP bindings 0.3.0 that we use, read strictly. Its own parser agrees."""
