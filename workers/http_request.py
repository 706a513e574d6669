"""HttpRequest: one HTTP request and the head of its answer; tried again where the fault may pass."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, Field

from jobservice import AbstractJob, ExponentialBackoff, Retry, __version__

BODY_HEAD_BYTES: Final = 16_384
"""How much of the answer's body is read and kept."""
HEADERS_CHARACTERS: Final = 16_384
"""How much of the answer's headers is kept; what is beyond is left out."""
TOLD_CHARACTERS: Final = 2_000
"""How much of the body an error tells."""
REDIRECTS_MAX: Final = 5
CONNECT_SECONDS: Final = 10.0
RETRY_AFTER_LONGEST: Final = 86_400.0
"""Seconds; a server that asks for more is asked again after these."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_REPEATABLE = frozenset({"POST", "PATCH"})


class HttpRequestFailed(Exception):
    """The answer is not one of those expected; the text has its status and the head of its body."""


@dataclass(frozen=True, slots=True)
class HttpReport:
    """An answer. Its texts can be stored: NUL, and bytes that are not of the body's charset, are written as escapes."""

    status: int
    headers: dict[str, str]
    """Names are in lower case; the values of one that came more than once are joined by commas."""
    body: str
    """The head of the body."""
    truncated: bool
    """Whether the body is longer than that."""
    url: str
    """Where the answer came from, after redirects."""


def http_url(url: str) -> str:
    """`url` itself. Raises ValueError for what is no address of an HTTP server."""
    parts = urlsplit(url)
    # Reading the port checks it.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not an http or https URL")
    return url


class HttpRequest(AbstractJob):
    """Sends one request. A status that is not in `expected` fails the job.

    Connection errors, time-outs, and the statuses 429 and 5xx where they are not expected, are tried again; a server's
    Retry-After is kept to. Redirects are followed, unless `expected` names one. POST and PATCH carry the job's id as
    their Idempotency-Key where none is given: like any job's run, a request may be sent more than once.
    """

    timeout = 60.0
    max_attempts = 3
    retry_on = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
    backoff = ExponentialBackoff(first=1.0, factor=4.0, longest=300.0)

    async def run(
        self,
        method: Annotated[str, Field(pattern=r"^[A-Za-z]{1,20}$")],
        url: Annotated[str, AfterValidator(http_url)],
        headers: Mapping[str, str] = {},
        body: str | None = None,
        expected: Annotated[list[Annotated[int, Field(ge=200, le=599)]], Field(min_length=1)] = [200],  # noqa: B006
    ) -> HttpReport:
        method = method.upper()
        try:
            report = await _answer(
                method, url, self._completed(method, headers), body, follow=_REDIRECTS.isdisjoint(expected)
            )
        except aiohttp.TooManyRedirects:
            raise HttpRequestFailed(f"redirected more than {REDIRECTS_MAX} times") from None
        if report.status in expected:
            return report
        failed = HttpRequestFailed(f"the status is {report.status}\n{report.body[:TOLD_CHARACTERS]}".rstrip())
        if report.status == 429 or report.status >= 500:
            raise Retry(after=seconds_in(report.headers.get("retry-after", ""))) from failed
        raise failed

    def _completed(self, method: str, given: Mapping[str, str]) -> dict[str, str]:
        """The headers given, and before them those that every request has."""
        own = {"User-Agent": f"jobservice/{__version__}"}
        if self.info.traceparent is not None:
            own["traceparent"] = self.info.traceparent
        if method in _NOT_REPEATABLE:
            own["Idempotency-Key"] = str(self.info.id)
        names = {name.lower() for name in given}
        return {name: value for name, value in own.items() if name.lower() not in names} | dict(given)


async def _answer(method: str, url: str, headers: dict[str, str], body: str | None, *, follow: bool) -> HttpReport:
    """One request and the head of its answer; no time limit but that of the run."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(
            method, url, headers=headers, data=body, allow_redirects=follow, max_redirects=REDIRECTS_MAX + 1
        ) as answer,
    ):
        head = await _head_of(answer.content)
        # The rest of the body is neither read nor waited for, nor is that of the request, if there is any.
        answer.close()
    return HttpReport(
        status=answer.status,
        headers=_headers_of(answer),
        body=body_text(head[:BODY_HEAD_BYTES], answer.charset, cut=len(head) > BODY_HEAD_BYTES),
        truncated=len(head) > BODY_HEAD_BYTES,
        url=str(answer.url),
    )


async def _head_of(content: aiohttp.StreamReader) -> bytes:
    """At most one byte more than is kept: it tells that there is more."""
    head = b""
    while piece := await content.read(BODY_HEAD_BYTES + 1 - len(head)):
        head += piece
    return head


def _headers_of(answer: aiohttp.ClientResponse) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = HEADERS_CHARACTERS
    for name, value in answer.headers.items():
        text = _storable(value)
        room -= len(name) + len(text)
        if room < 0:
            break
        key = name.lower()
        kept[key] = f"{kept[key]}, {text}" if key in kept else text
    return kept


def body_text(head: bytes, charset: str | None, *, cut: bool) -> str:
    """`head` as text that can be stored, by its charset, else as UTF-8. A character that was `cut` at its end goes."""
    if charset is not None and not _is_utf8(charset):
        try:
            return _storable(head.decode(charset, "backslashreplace"))
        except (LookupError, ValueError):  # no charset that is known here, or one that refuses
            pass
    return _storable(codecs.getincrementaldecoder("utf-8")("backslashreplace").decode(head, final=not cut))


def _is_utf8(charset: str) -> bool:
    return charset.lower().replace("_", "-") in ("utf-8", "utf8")


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def seconds_in(retry_after: str) -> float | None:
    """The seconds that a Retry-After asks for (RFC 9110, 10.2.3), at most the longest; None where it says nothing."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), RETRY_AFTER_LONGEST)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - datetime.now(UTC)).total_seconds()), RETRY_AFTER_LONGEST)
