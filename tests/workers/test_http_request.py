"""HttpRequest against a real server, in the test's own event loop."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from jobservice import JobStatus
from jobservice.testing import JobTestResult, arun_job
from workers.http_request import BODY_HEAD_BYTES, HEADERS_CHARACTERS, REDIRECTS_MAX, HttpReport, HttpRequest, body_text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that gives every request to `handler`."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def request(handler: Handler, method: str = "GET", path: str = "/", **parameters: Any) -> JobTestResult:
    """What becomes of one request to `handler`."""
    async with server(handler) as url:
        return await arun_job(HttpRequest, method=method, url=url + path, **parameters)


def report_of(told: JobTestResult) -> HttpReport:
    assert told.status == JobStatus.SUCCEEDED, told.error
    return told.result_as(HttpReport)


def answering(**answer: Any) -> Handler:
    async def answer_all(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(**answer)

    return answer_all


async def echo(request: web.Request) -> web.Response:
    """Tells what came."""
    told = {
        "method": request.method,
        "path": request.path_qs,
        "headers": {k.lower(): v for k, v in request.headers.items()},
    }
    return web.json_response(told | {"body": await request.text()})


# ----------------------------------------------------------------------------------------------- request and answer


async def test_method_path_headers_and_body_arrive_as_given() -> None:
    told = await request(echo, "put", "/a/b?c=d%20e", headers={"X-Words": "a, b"}, body="grün\n")

    came = json.loads(report_of(told).body)
    assert (came["method"], came["path"], came["body"]) == ("PUT", "/a/b?c=d%20e", "grün\n")
    assert came["headers"]["x-words"] == "a, b"


async def test_status_headers_and_body_of_the_answer_are_the_result() -> None:
    answer = answering(status=200, text="hello", headers={"X-Trace": "t1"})

    report = report_of(await request(answer))

    assert (report.status, report.body, report.truncated) == (200, "hello", False)
    assert report.headers["x-trace"] == "t1"
    assert report.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_not_be_repeated_carries_a_key_unless_it_has_one(method: str) -> None:
    own = report_of(await request(echo, method, headers={"idempotency-key": "mine"}))
    ours = report_of(await request(echo, method))

    assert json.loads(own.body)["headers"]["idempotency-key"] == "mine"
    assert len(json.loads(ours.body)["headers"]["idempotency-key"]) == 36


async def test_a_get_carries_no_key() -> None:
    assert "idempotency-key" not in json.loads(report_of(await request(echo)).body)["headers"]


@pytest.mark.parametrize("status", [200, 204, 404, 503])
async def test_an_expected_status_is_a_success_whatever_it_is(status: int) -> None:
    report = report_of(await request(answering(status=status), expected=[200, 204, 404, 503]))

    assert report.status == status


@pytest.mark.parametrize(
    ("wrong", "parameter"),
    [
        ({"url": "ftp://example.org/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "/relative"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://host:99999/"}, "url"),
        ({"url": "http://[::1/"}, "url"),
        ({"method": "GET /other"}, "method"),
        ({"method": ""}, "method"),
        ({"expected": []}, "expected"),
        ({"expected": [1000]}, "expected"),
        ({"body": 1}, "body"),
    ],
)
async def test_what_is_no_request_never_starts_and_names_the_parameter(wrong: dict[str, Any], parameter: str) -> None:
    told = await arun_job(HttpRequest, **({"method": "GET", "url": "http://127.0.0.1:9/"} | wrong))

    assert (told.status, told.started) == (JobStatus.FAILED, False)
    assert (told.error or "").startswith(f"parameter '{parameter}' is invalid")


@pytest.mark.parametrize("name, value", [("X-Split", "a\r\nX-Other: b"), ("X Blank:", "a")])
async def test_a_header_cannot_smuggle_another(name: str, value: str) -> None:
    told = await request(echo, headers={name: value})

    assert told.status == JobStatus.FAILED
    assert told.retry_after is None


# ----------------------------------------------------------------------------------------------------------- limits


async def test_of_a_body_without_end_the_head_is_kept() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 4_096)

    report = report_of(await request(endless))

    assert (report.body, report.truncated) == ("x" * BODY_HEAD_BYTES, True)


async def test_a_body_of_just_the_size_kept_is_whole() -> None:
    report = report_of(await request(answering(text="x" * BODY_HEAD_BYTES)))

    assert (len(report.body), report.truncated) == (BODY_HEAD_BYTES, False)


async def test_a_small_answer_that_unpacks_to_a_large_one_is_kept_in_part_only() -> None:
    packed = gzip.compress(b"y" * 50_000_000)

    report = report_of(await request(answering(body=packed, headers={"Content-Encoding": "gzip"})))

    assert (report.body, report.truncated) == ("y" * BODY_HEAD_BYTES, True)


async def test_of_many_headers_some_are_kept() -> None:
    headers = {f"X-{number}": "z" * 4_000 for number in range(20)}

    report = report_of(await request(answering(headers=headers)))

    assert 8_000 < sum(len(name) + len(value) for name, value in report.headers.items()) <= HEADERS_CHARACTERS


@pytest.mark.parametrize(
    ("head", "charset", "cut", "text"),
    [
        ("é€".encode(), None, False, "é€"),
        ("é€".encode()[:-1], "utf-8", True, "é"),
        ("é€".encode()[:-1], "UTF-8", False, "é\\xe2\\x82"),
        ("é".encode("latin-1"), "iso-8859-1", True, "é"),
        (b"\xff\x00a", None, False, "\\xff\\x00a"),
        ("é".encode(), "no-such-charset", False, "é"),
        (b"a", "zlib", False, "a"),
        (b"\\udc80\\u0000", "unicode_escape", False, "\\udc80\\x00"),
        (b"a", "utf-8\x00", False, "a"),
        (b"a", "undefined", False, "a"),
    ],
)
def test_any_body_becomes_a_text_that_can_be_stored(head: bytes, charset: str | None, cut: bool, text: str) -> None:
    assert body_text(head, charset, cut=cut) == text


async def test_header_values_that_are_no_text_can_be_stored() -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Odd: \xff\r\nX-Twice: a\r\nx-twice: b\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(odd, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        report = report_of(await arun_job(HttpRequest, method="GET", url=f"http://127.0.0.1:{port}/"))

    assert report.headers["x-odd"] == "\\udcff"
    assert report.headers["x-twice"] == "a, b"


# -------------------------------------------------------------------------------------------------------- redirects


def counting_down(steps: int, status: int = 302) -> Handler:
    async def step(request: web.Request) -> web.Response:
        left = int(request.path.strip("/") or steps)
        return (
            web.Response(text="there")
            if left == 0
            else web.Response(status=status, headers={"Location": f"/{left - 1:02}"})
        )

    return step


async def test_redirects_are_followed() -> None:
    report = report_of(await request(counting_down(REDIRECTS_MAX)))

    assert (report.status, report.body) == (200, "there")
    assert report.url.endswith("/00")


async def test_one_redirect_too_many_fails() -> None:
    told = await request(counting_down(REDIRECTS_MAX + 1))

    assert told.status == JobStatus.FAILED
    assert told.error == f"redirected more than {REDIRECTS_MAX} times"


async def test_an_expected_redirect_is_the_answer() -> None:
    report = report_of(await request(counting_down(1), expected=[302]))

    assert (report.status, report.headers["location"]) == (302, "/00")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "gopher://127.0.0.1/"])
async def test_a_redirect_out_of_http_fails(address: str) -> None:
    told = await request(answering(status=302, headers={"Location": address}))

    assert (told.status, told.retry_after) == (JobStatus.FAILED, None)


async def test_credentials_do_not_follow_a_redirect_to_another_server() -> None:
    async with server(echo) as other:
        away = answering(status=307, headers={"Location": f"{other}/taken"})
        told = await request(away, headers={"Authorization": "Bearer secret", "Cookie": "a=b"})

    came = json.loads(report_of(told).body)["headers"]
    assert came.keys().isdisjoint({"authorization", "cookie"})


# ----------------------------------------------------------------------------------------------- failures, attempts


@pytest.mark.parametrize("status", [201, 304, 400, 404])
async def test_an_unexpected_status_fails_with_it_and_the_head_of_the_body(status: int) -> None:
    body = None if status == 304 else "no such order"
    told = await request(answering(status=status, text=body))

    assert (told.status, told.retry_after) == (JobStatus.FAILED, None)
    assert told.error_type == "workers.http_request.HttpRequestFailed"
    assert told.error == f"the status is {status}" + (f"\n{body}" if body else "")


@pytest.mark.parametrize("status", [429, 500, 503, 599])
async def test_a_status_that_may_pass_is_tried_again(status: int) -> None:
    told = await request(answering(status=status, text="later"))

    assert told.status == JobStatus.PENDING
    assert told.error == f"the status is {status}\nlater"
    assert 0 < (told.retry_after or 0) <= 1


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("120", 120, 120),
        ("99999999999", 86_400, 86_400),
        ("in two hours", 7_000, 7_200),
        ("soon", 0.01, 1),
        ("-5", 0.01, 1),
        ("²", 0.01, 1),
    ],
)
async def test_the_servers_retry_after_is_kept_to(said: str, least: float, most: float) -> None:
    if said == "in two hours":
        said = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    told = await request(answering(status=503, headers={"Retry-After": said}))

    assert least <= (told.retry_after or 0) <= most


async def test_a_retry_after_that_has_passed_means_at_once() -> None:
    told = await request(answering(status=503, headers={"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}))

    assert (told.status, told.retry_after) == (JobStatus.QUEUED, 0)


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    told = await arun_job(HttpRequest, method="GET", url=f"http://127.0.0.1:{port}/")

    assert told.status == JobStatus.PENDING
    assert str(port) in (told.error or "")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive"], ids=["answer", "body"])
async def test_a_connection_that_breaks_off_in_the_answer_is_tried_again(sent: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    listening = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        told = await arun_job(HttpRequest, method="POST", url=f"http://127.0.0.1:{port}/", body="order")

    assert told.status == JobStatus.PENDING


async def test_an_answer_that_does_not_come_in_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpRequest, "timeout", 0.2)

    told = await request(silent)

    assert told.status == JobStatus.PENDING
    assert told.error_type == "jobservice.domain.errors.JobTimeout"


async def silent(request: web.Request) -> web.Response:
    del request
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def test_a_stop_ends_the_request_and_its_connection() -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        hung_up.set()
        writer.close()

    class StoppedHttpRequest(HttpRequest):
        async def run(self, url: str) -> HttpReport:
            stopping = asyncio.ensure_future(self.stop_when_asked())
            try:
                return await super().run("GET", url)
            finally:
                stopping.cancel()

        async def stop_when_asked(self) -> None:
            await asked.wait()
            self.set_progress(done=1)

    listening = await asyncio.start_server(wait_for_the_end, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        told = await arun_job(StoppedHttpRequest, url=url, stop_when=lambda progress: progress.done == 1)
        async with asyncio.timeout(20):
            await hung_up.wait()

    assert told.status == JobStatus.ABORTED
