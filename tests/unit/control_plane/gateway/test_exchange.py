"""Reading requests and answering them at the ASGI edge."""

import asyncio
from typing import Any

import pytest

from control_plane.gateway.asgi import AsgiClient, read_body, read_headers
from control_plane.gateway.errors import ClientGone, Condition, Refusal
from control_plane.gateway.limits import Limits

LIMITS = Limits(request_body_bytes=10, request_headers_bytes=100, client_stall_s=0.05)


def receiving(*messages: dict[str, Any]) -> Any:
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    return receive


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_parts_is_put_together() -> None:
    receive = receiving(part(b"ab", more=True), part(b"", more=True), part(b"c", more=False))
    assert await read_body(receive, None, LIMITS) == b"abc"


async def test_a_body_announced_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refusal) as refusal:
        await read_body(receiving(), 11, LIMITS)
    assert refusal.value.condition is Condition.BODY_TOO_LARGE


async def test_a_client_that_leaves_while_it_sends_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_body(receiving(part(b"a", more=True), {"type": "http.disconnect"}), None, LIMITS)


def test_headers_are_read_by_name_and_measured() -> None:
    read = read_headers(
        [(b"authorization", b"Bearer x"), (b"content-length", b"12"), (b"cookie", b"a")], LIMITS
    )
    assert (read.authorization, read.content_length, read.purpose) == ("Bearer x", 12, None)
    with pytest.raises(Refusal):
        read_headers([(b"x", b"y" * 100)], LIMITS)


async def test_a_client_that_accepts_nothing_is_given_up_and_its_task_is_not_left_cancelled() -> None:
    async def never(message: Any) -> None:
        await asyncio.Event().wait()

    client = AsgiClient(receiving(), never, LIMITS)
    gone = asyncio.Event()
    client.on_gone = gone.set
    with pytest.raises(ClientGone):
        await client.start(200, [])
    assert client.gone
    assert gone.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancelling_who_sends_is_not_taken_for_a_stalled_client() -> None:
    started = asyncio.Event()

    async def never(message: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    client = AsgiClient(receiving(), never, Limits())
    sending = asyncio.create_task(client.start(200, []))
    await started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await client.close()
