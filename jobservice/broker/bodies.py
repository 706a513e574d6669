"""Bodies of messages that others sent: read strictly, and refused in the same words at every queue."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from jobservice.broker.incoming import Incoming
from jobservice.domain.errors import ErrorCode, InvalidSubmission
from jobservice.domain.names import clean_text

_TEXT_MAX: Final = 1_000
_FIELD_MAX: Final = 200


def read_json(body: bytes, *, max_bytes: int) -> Any:
    """The value of a body that is JSON in UTF-8; integers keep every digit.

    Raises InvalidSubmission: `too_large`, `bad_json`, and `bad_field` for what JSON allows but nobody can hold.
    """
    if len(body) > max_bytes:
        raise InvalidSubmission(f"the body has {len(body):,} bytes; at most {max_bytes:,} are taken", code="too_large")
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidSubmission(f"the body is not UTF-8: byte {error.start}", code="bad_json") from None
    except json.JSONDecodeError as error:
        raise InvalidSubmission(f"the body is not JSON: {error}", code="bad_json") from None
    except RecursionError:
        raise InvalidSubmission("the body is nested too deep") from None
    except ValueError:  # an integer longer than Python reads
        raise InvalidSubmission("the body holds a number that is not finite as a double") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidSubmission(f"the body is not JSON: it holds {constant}", code="bad_json")


# Made once: `json.loads` and `json.dumps` make one for each value.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def answer(message: Incoming, content: Mapping[str, Any]) -> None:
    """Reply with `content`, and acknowledge."""
    message.reply(_ENCODER.encode(content).encode())
    message.ack()


def refuse(message: Incoming, error: InvalidSubmission, **details: Any) -> None:
    """Reply with the error, and have the message kept in the rejected queue with its code and reason."""
    text = clean_text(str(error), _TEXT_MAX)
    if error.field is not None:
        details["field"] = clean_text(error.field, _FIELD_MAX)
    if error.index is not None:
        details["index"] = error.index
    reply_error(message, error.code, text, details)
    message.reject(error.code, text)


def reply_error(message: Incoming, code: ErrorCode, text: str, details: Mapping[str, Any]) -> None:
    """Reply with an error and decide nothing."""
    told = {"error": {"code": code, "message": text, "details": details}}
    message.reply(_ENCODER.encode(told).encode())
