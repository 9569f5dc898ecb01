import json
from collections.abc import Callable
from typing import Any

import pytest

from control_plane.gateway.errors import Condition, Refusal, error_body
from control_plane.gateway.metering import END_MARKER
from control_plane.gateway.ports import Headers
from control_plane.gateway.reading import AnswerBroken
from control_plane.gateway.request import CHAT_COMPLETIONS
from control_plane.gateway.surfaces import SURFACES, SurfaceClient, surface_of

JSON_TYPE = (b"content-type", b"application/json")
STREAM_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")
MESSAGES = SURFACES["/v1/messages"]
REQUEST = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"h\xc3\xa9"}],"stream":true}'
ERROR = error_body(Condition.OVERLOADED, "busy")


class Recorder:
    """A client that accepts everything."""

    def __init__(self) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.gone = False
        self.started = False
        self.status = 0
        self.headers: Headers = ()
        self.sent: list[bytes] = []
        self.ended = False

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status, self.headers = True, status, headers

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    def send_now(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    async def end(self, data: bytes = b"") -> None:
        self.sent.append(data)
        self.ended = True


def chunk(text: str) -> bytes:
    value = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def test_a_request_is_read_as_chat_and_remembers_what_was_asked() -> None:
    client = SurfaceClient(Recorder(), MESSAGES)
    request = client.read(REQUEST)
    assert (request.path, request.asked_path) == (CHAT_COMPLETIONS, "/v1/messages")
    assert (request.streamed, request.wants_usage, request.max_tokens) == (True, True, 9)
    assert request.prompt_tokens_bound >= len(json.dumps(request.body["messages"]).encode())
    with pytest.raises(Refusal, match="not valid JSON"):
        client.read(b"{")


async def test_several_events_in_one_piece_are_translated_and_comments_stay() -> None:
    recorder = Recorder()
    client = SurfaceClient(recorder, MESSAGES)
    client.read(REQUEST)
    await client.start(200, [STREAM_TYPE])
    assert recorder.started
    await client.send(b": ping\n\n")
    piece = chunk("a") + b": x\n\n" + chunk("b")
    assert not client.send_now(piece), "it is translated once, where it can be waited for"
    await client.send(piece)
    await client.end(END_MARKER)
    names = [line for line in b"".join(recorder.sent).split(b"\n") if line[:1] in (b":", b"e")]
    assert names == [
        b": ping",
        b"event: message_start",
        b"event: content_block_start",
        b"event: content_block_delta",
        b": x",
        b"event: content_block_delta",
        b"event: content_block_stop",
        b"event: message_delta",
        b"event: message_stop",
    ]
    assert recorder.ended


async def test_a_whole_answer_goes_out_with_its_own_length_and_the_other_headers() -> None:
    recorder = Recorder()
    client = SurfaceClient(recorder, MESSAGES)
    client.read(REQUEST)
    await client.start(200, [JSON_TYPE, (b"content-length", b"2"), (b"x-daalu-tier", b"own")])
    assert not recorder.started, "nothing is known of the length yet"
    message: dict[str, Any] = {"choices": [{"message": {"content": "ö"}, "finish_reason": "stop"}]}
    await client.end(json.dumps(message).encode())
    [body] = recorder.sent
    assert json.loads(body)["content"] == [{"type": "text", "text": "ö"}]
    assert recorder.headers == (JSON_TYPE, (b"x-daalu-tier", b"own"), (b"content-length", b"%d" % len(body)))


async def test_an_error_before_the_request_was_read_has_the_surfaces_shape() -> None:
    recorder = Recorder()
    client = SurfaceClient(recorder, MESSAGES)
    await client.start(503, [JSON_TYPE, (b"content-length", b"%d" % len(ERROR))])
    await client.end(ERROR)
    assert recorder.status == 503
    assert json.loads(recorder.sent[0])["error"]["type"] == "overloaded_error"


async def test_an_error_in_a_stream_ends_it_without_an_end_marker() -> None:
    recorder = Recorder()
    client = SurfaceClient(recorder, MESSAGES)
    client.read(REQUEST)
    await client.start(200, [STREAM_TYPE])
    await client.end(b"data: " + ERROR + b"\n\n")
    assert recorder.sent[0].startswith(b"event: error\n")
    with pytest.raises(AnswerBroken, match="no JSON object"):
        await client.send(b"data: [1]\n\n")


async def test_word_of_a_client_that_is_gone_passes_through() -> None:
    recorder = Recorder()
    client = SurfaceClient(recorder, MESSAGES)
    told: list[bool] = []
    client.on_gone = lambda: told.append(True)
    assert recorder.on_gone is client.on_gone
    recorder.on_gone()
    recorder.gone = True
    assert (told, client.gone) == ([True], True)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/responses", "/v1/responses"),
        ("/v1/responses/resp_1/cancel", "/v1/responses"),
        ("/v1/messages/count_tokens", "/v1/messages"),
        ("/v1/messagesx", None),
        ("/v1/chat/completions", None),
    ],
)
def test_a_path_is_of_the_surface_that_it_is_under(path: str, found: str | None) -> None:
    surface = surface_of(path)
    assert (surface.path if surface else None) == found
