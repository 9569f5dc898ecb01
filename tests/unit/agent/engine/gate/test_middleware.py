"""What the gate lets in, what it refuses and how, and what it writes down."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.engine.gate import Gate
from tests.support.engine_gate import (
    KEY,
    LOCAL_KEY,
    Message,
    answering,
    ask,
    event,
    new_attempt,
    receipts,
    records,
    scope_of,
    ticket,
    write_gate_config,
)

MakeGate = Callable[..., Gate]


class Worked(Exception):
    """The application behind the gate was reached."""


async def must_not_work(scope: Message, receive: Any, send: Any) -> None:
    raise Worked


@pytest.fixture
def make_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeGate:
    def make(app: Any = must_not_work, **config: int) -> Gate:
        for name, value in write_gate_config(tmp_path, **config).items():
            monkeypatch.setenv(name, value)
        return Gate(app)

    return make


def close(gate: Gate) -> None:
    """As the end of the engine's process does, so that the next gate may write the journal."""
    gate._journal.close()


NOW = int(time.time())


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "ticket_missing"),
        (b"", 401, "ticket_malformed"),
        (b"nonsense", 401, "ticket_malformed"),
        (b"a.b.c", 401, "ticket_malformed"),
        (b"x" * 5000, 401, "ticket_malformed"),
        (b"W10." + b"A" * 43, 401, "ticket_malformed"),
        (ticket(v=2), 401, "ticket_malformed"),
        (ticket(e="soon"), 401, "ticket_malformed"),
        (ticket(e=True), 401, "ticket_malformed"),
        (ticket(a=""), 401, "ticket_malformed"),
        (ticket(a=7), 401, "ticket_malformed"),
        (ticket(t="root"), 401, "ticket_malformed"),
        (ticket(key=b"\0" * 32), 401, "ticket_foreign"),
        (ticket(k=9), 401, "ticket_foreign"),
        (ticket(k=0, key=LOCAL_KEY, t="own"), 401, "ticket_malformed"),
        (ticket(e=NOW - 5), 401, "ticket_stale"),
        (ticket(e=NOW + 3600), 401, "ticket_stale"),
    ],
)
async def test_a_bad_ticket_is_refused_before_any_work(
    make_gate: MakeGate, tmp_path: Path, header: bytes | None, status: int, code: str
) -> None:
    answered = await ask(make_gate(), header)
    assert (answered.status, answered.code) == (status, code)
    assert [record["kind"] for record in records(tmp_path)] == ["opened"]


async def test_a_ticket_for_another_model_is_refused(make_gate: MakeGate) -> None:
    answered = await ask(make_gate(), ticket(m="another-model"))
    assert (answered.status, answered.code) == (403, "wrong_model")


async def test_a_tampered_claim_is_foreign(make_gate: MakeGate) -> None:
    claims, _, _ = ticket(t="own").partition(b".")
    _, _, mac = ticket(t="pool").partition(b".")
    assert (await ask(make_gate(), claims + b"." + mac)).code == "ticket_foreign"


async def test_two_ticket_headers_are_refused(make_gate: MakeGate) -> None:
    gate, sent = make_gate(), list[Message]()
    scope = scope_of(ticket(), "/v1/completions")
    scope["headers"].append((b"x-daalu-ticket", ticket()))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("the body was read")

    await gate(scope, receive, send)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/invocations", "POST", 404),
        ("/tokenize", "POST", 404),
        ("/collective_rpc", "POST", 404),
        ("/v1/chat/completions/", "POST", 404),
        ("/v1//chat/completions", "POST", 404),
        ("/docs", "GET", 404),
        ("/v1/chat/completions", "GET", 405),
        ("/metrics", "POST", 405),
        ("/metrics", "GET", 404),
        ("/v1/models", "GET", 404),
    ],
)
async def test_an_own_ticket_opens_the_inference_paths_alone(
    make_gate: MakeGate, path: str, method: str, status: int
) -> None:
    assert (await ask(make_gate(), ticket(), path, method)).status == status


@pytest.mark.parametrize("tier", ["agent", "probe"])
async def test_probes_may_read_the_figures_and_leave_no_receipt(
    make_gate: MakeGate, tmp_path: Path, tier: str
) -> None:
    gate = make_gate(answering([event(0, 1)]))
    assert (await ask(gate, ticket(t=tier), "/metrics", "GET")).status == 200
    assert (await ask(gate, ticket(t=tier))).status == 200
    assert receipts(tmp_path) == []


async def test_the_daemons_own_key_opens_its_own_tier(make_gate: MakeGate) -> None:
    gate = make_gate(answering([b"{}"]))
    assert (await ask(gate, ticket(k=0, key=LOCAL_KEY, t="agent"), "/health", "GET")).status == 200


async def test_a_web_socket_is_denied(make_gate: MakeGate) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {**scope_of(ticket(), "/v1/realtime"), "type": "websocket"}
    await make_gate()(scope, must_not_work, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_refusals_have_openais_shape_and_close_the_connection(make_gate: MakeGate) -> None:
    answered = await ask(make_gate(), None)
    error = json.loads(answered.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answered.headers[b"content-type"] == b"application/json"
    assert answered.headers[b"connection"] == b"close"


async def test_a_refusal_is_logged_without_the_ticket(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    header = ticket(e=NOW - 5)
    with caplog.at_level(logging.WARNING, "daalu.gate"):
        await ask(make_gate(), header, "/v1/completions")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "refused ticket_stale: POST '/v1/completions' from 10.0.0.9"


async def test_a_flood_of_refusals_does_not_fill_the_log(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = make_gate()
    with caplog.at_level(logging.WARNING, "daalu.gate"):
        for _ in range(500):
            await ask(gate, None)
    assert len(caplog.records) < 100


async def test_a_ticket_is_good_once(make_gate: MakeGate) -> None:
    gate, header = make_gate(answering([event(0, 3)])), ticket()
    assert (await ask(gate, header)).status == 200
    again = await ask(gate, header)
    assert (again.status, again.code) == (403, "ticket_replayed")


async def test_an_attempt_is_good_once_whatever_its_ticket(make_gate: MakeGate) -> None:
    gate, attempt = make_gate(answering([event(0, 3)])), new_attempt()
    assert (await ask(gate, ticket(attempt))).status == 200
    assert (await ask(gate, ticket(attempt, c="call-2"))).status == 403


async def test_a_used_ticket_stays_used_when_the_engine_starts_again(make_gate: MakeGate) -> None:
    gate, header = make_gate(answering([event(0, 3)])), ticket()
    await ask(gate, header)
    close(gate)
    assert (await ask(make_gate(), header)).code == "ticket_replayed"


async def test_expired_attempts_are_forgotten(make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = make_gate(answering([event(0, 3)]))
    for _ in range(50):
        await ask(gate, ticket())
    monkeypatch.setattr(time, "time", lambda: NOW + 120.0)
    await ask(gate, ticket(e=NOW + 150))
    assert len(gate._journal.attempts) == 1


async def test_a_new_key_is_found_without_a_restart(make_gate: MakeGate, tmp_path: Path) -> None:
    gate = make_gate(answering([b"{}"]))
    await ask(gate, ticket())
    keys = [{"id": 1, "key": KEY.hex()}, {"id": 2, "key": "ab" * 32}]
    (tmp_path / "new").write_text(json.dumps({"keys": keys}))
    (tmp_path / "new").replace(tmp_path / "ticket-keys.json")
    assert (await ask(gate, ticket(k=2, key=b"\xab" * 32))).status == 200


async def test_a_withdrawn_key_opens_nothing(make_gate: MakeGate, tmp_path: Path) -> None:
    gate = make_gate(answering([b"{}"]))
    await ask(gate, ticket())
    (tmp_path / "new").write_text('{"keys": []}')
    (tmp_path / "new").replace(tmp_path / "ticket-keys.json")
    assert (await ask(gate, ticket())).code == "ticket_foreign"


async def test_the_engine_does_not_see_the_ticket(make_gate: MakeGate) -> None:
    seen: list[bytes] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await answering([])(scope, receive, send)

    await ask(make_gate(app), ticket())
    assert seen == [b"host"]


async def test_a_drained_engine_takes_probes_but_no_calls(make_gate: MakeGate, tmp_path: Path) -> None:
    gate = make_gate(answering([b"{}"]))
    (tmp_path / "draining").touch()
    refused = await ask(gate, ticket())
    assert (refused.status, refused.code) == (503, "draining")
    assert (await ask(gate, ticket(t="agent"))).status == 200
    (tmp_path / "draining").unlink()
    assert (await ask(gate, ticket())).status == 200


async def test_an_engine_whose_owner_lends_nothing_now_takes_the_owners_calls_alone(
    make_gate: MakeGate, tmp_path: Path
) -> None:
    """Also a call of a pool that was planned, and its ticket signed, before that was said."""
    gate, planned = make_gate(answering([b"{}"])), ticket(t="pool")
    (tmp_path / "pool-refused").touch()
    refused = await ask(gate, planned)
    assert (refused.status, refused.code) == (503, "pool_refused")
    assert (await ask(gate, ticket())).status == 200
    (tmp_path / "pool-refused").unlink()
    assert (await ask(gate, planned)).status == 200


async def test_pool_calls_leave_the_owners_reserve_free(make_gate: MakeGate) -> None:
    hold = asyncio.Event()

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await hold.wait()
        await answering([])(scope, receive, send)

    gate = make_gate(app, running_max=2, pool_reserve=1)
    async with asyncio.TaskGroup() as calls:
        first = calls.create_task(ask(gate, ticket(t="pool")))
        await asyncio.sleep(0)
        refused = await ask(gate, ticket(t="pool"))
        assert (refused.status, refused.code) == (503, "no_capacity")
        own = calls.create_task(ask(gate, ticket()))
        hold.set()
    assert first.result().status == own.result().status == 200
    assert gate.running.total() == 0


async def test_a_call_leaves_a_receipt_with_the_engines_own_counts(
    make_gate: MakeGate, tmp_path: Path
) -> None:
    attempt = new_attempt()
    stream = [event(0, 1), event(0, 2), event(None, 2), b"data: [DONE]\n\n"]
    await ask(make_gate(answering(stream)), ticket(attempt, c="call-7"))
    (receipt,) = receipts(tmp_path)
    assert receipt["accepted_unix_ms"] <= receipt["first_byte_unix_ms"] <= receipt["ended_unix_ms"]
    times = {name for name in receipt if name.endswith("_unix_ms")}
    assert {name: value for name, value in receipt.items() if name not in times} == {
        "kind": "receipt",
        "sequence": 1,
        "call_id": "call-7",
        "attempt_id": attempt,
        "served_name": "tiny-random",
        "path": "/v1/chat/completions",
        "http_status": 200,
        "prompt_tokens": 19,
        "completion_tokens": 2,
        "outcome": "COMPLETE",
    }


async def test_the_receipt_is_written_before_the_last_byte_leaves(
    make_gate: MakeGate, tmp_path: Path
) -> None:
    gate = make_gate(answering([event(0, 1)]))
    written: list[int] = []

    async def send(message: Message) -> None:
        written.append(len(receipts(tmp_path)))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await gate(scope_of(ticket(), "/v1/completions"), receive, send)
    assert written == [0, 0, 1]


async def test_a_caller_who_goes_away_leaves_a_receipt_of_what_was_generated(
    make_gate: MakeGate, tmp_path: Path
) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": event(0, 5), "more_body": True})
        await receive()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    await make_gate(app)(scope_of(ticket(), "/v1/completions"), receive, send)
    (receipt,) = receipts(tmp_path)
    assert (receipt["outcome"], receipt["completion_tokens"]) == ("CALLER_GONE", 5)


async def test_a_cancelled_call_leaves_a_receipt_too(make_gate: MakeGate, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def app(scope: Message, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    gate = make_gate(app)
    call = asyncio.create_task(ask(gate, ticket()))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (receipt,) = receipts(tmp_path)
    assert (receipt["outcome"], receipt["http_status"]) == ("ENGINE_ERROR", 0)
    assert gate.running.total() == 0


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, b"application/json", b'{"error":{"message":"no"}}'),
        (200, b"text/event-stream", b'data: {"error": {"message": "engine died"}}\n\ndata: [DONE]\n\n'),
    ],
)
async def test_an_error_of_the_engine_is_told_from_an_answer(
    make_gate: MakeGate, tmp_path: Path, status: int, kind: bytes, body: bytes
) -> None:
    await ask(make_gate(answering([body], status=status, kind=kind)), ticket())
    (receipt,) = receipts(tmp_path)
    assert (receipt["outcome"], receipt["http_status"]) == ("ENGINE_ERROR", status)


async def test_an_engine_that_breaks_off_leaves_a_receipt(make_gate: MakeGate, tmp_path: Path) -> None:
    with pytest.raises(Worked):
        await ask(make_gate(must_not_work), ticket())
    (receipt,) = receipts(tmp_path)
    assert (receipt["outcome"], receipt["http_status"]) == ("ENGINE_ERROR", 0)


async def test_what_was_never_sent_has_no_first_byte(make_gate: MakeGate, tmp_path: Path) -> None:
    await ask(make_gate(answering([b'{"error":{}}'], status=400, kind=b"application/json")), ticket())
    (receipt,) = receipts(tmp_path)
    assert (receipt["http_status"], receipt["first_byte_unix_ms"]) == (400, 0)


def test_a_gate_without_its_configuration_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAALU_GATE_CONFIG", str(tmp_path / "missing.json"))
    with pytest.raises(FileNotFoundError):
        Gate(must_not_work)
