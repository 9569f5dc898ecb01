"""What holds for calls of every surface as for chat: money, settlement, fall-through, lost clients."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlmodel import select

from control_plane.economy import verify
from control_plane.gateway import Limits
from control_plane.store import Store
from control_plane.store.economy_tables import UsageRecord
from tests.support.gateway import KEY, OTHER_KEY, Front, agent_view, serving
from tests.support.gateway_client import ROLE, until
from tests.support.gateway_engine import PROMPT_TOKENS, Exchange, chunk, scripted_engine, stream_of
from tests.support.market import PRICE, SHARE_BASIS_POINTS, Terms, open_market
from tests.support.market_front import market
from tests.support.vendor import COMPLETION_TOKENS, WORDS, configured, fake_vendor
from tests.support.vendor import MODEL as VENDORS_MODEL
from tests.support.vendor import PROMPT_TOKENS as VENDORS_PROMPT_TOKENS
from tests.support.vendor_tls import make_tls


@dataclass(frozen=True, slots=True)
class Surface:
    path: str
    body: dict[str, Any]
    # What only the first content brings, what comes with content, what ends the answer.
    begins: bytes
    delta: bytes
    end_marker: bytes

    @asynccontextmanager
    async def stream(
        self, front: Front, key: str = KEY
    ) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[bytes]]]:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=20) as http,
            http.stream("POST", front.url + self.path, json={**self.body, "stream": True}) as reply,
        ):
            yield reply, reply.aiter_raw()

    async def post(self, front: Front, key: str = KEY, **changes: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=20) as http:
            return await http.post(front.url + self.path, json={**self.body, **changes})


RESPONSES = Surface(
    "/v1/responses",
    {"model": "tiny", "input": "hi", "max_output_tokens": 20},
    b"event: response.created\n",
    b"event: response.output_text.delta\n",
    b"event: response.completed\n",
)
MESSAGES = Surface(
    "/v1/messages",
    {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20},
    b"event: message_start\n",
    b"event: content_block_delta\n",
    b"event: message_stop\n",
)
both = pytest.mark.parametrize("surface", [RESPONSES, MESSAGES], ids=["responses", "messages"])


@both
async def test_a_pools_stream_is_settled_before_its_end_marker_goes_out(
    sqlite_store: Store, surface: Surface
) -> None:
    async with market(sqlite_store, hosted=False) as here:
        seen = b""
        records: list[UsageRecord] = []
        async with surface.stream(here.front, OTHER_KEY) as (reply, parts):
            async for part in parts:
                seen += part
                if surface.end_marker in seen and not records:
                    records.append(await here.usage())
        [used] = records
        assert reply.headers["x-daalu-pool"] == "shared"
        charge = PROMPT_TOKENS * PRICE.input_micro_usd_per_mtok + 4 * PRICE.output_micro_usd_per_mtok
        assert (used.prompt_tokens, used.completion_tokens) == (PROMPT_TOKENS, 4)
        assert used.charge_pico_usd == charge
        assert used.credit_pico_usd == charge * SHARE_BASIS_POINTS // 10_000
        assert await here.quota() == (PROMPT_TOKENS + 4, 0)
        assert seen.count(surface.end_marker) == 1
        assert b"[DONE]" not in seen


@both
async def test_a_pools_whole_answer_is_charged_like_chat_and_has_its_own_length(
    sqlite_store: Store, surface: Surface
) -> None:
    async with market(sqlite_store) as here:
        reply = await surface.post(here.front, OTHER_KEY)
        assert reply.status_code == 200
        assert int(reply.headers["content-length"]) == len(reply.content)
        assert reply.json()["usage"]["output_tokens"] == 5
        assert (await here.usage()).completion_tokens == 5
        [exchange] = here.hosted.received + here.lent.received
        assert exchange.json["priority"] > 0
        assert len(exchange.json["cache_salt"]) == 32


@both
async def test_the_quota_and_the_fields_of_shared_cards_hold_on_every_surface(
    sqlite_store: Store, surface: Surface
) -> None:
    async with market(sqlite_store, Terms(monthly_tokens=100)) as here:
        over = await surface.post(here.front, OTHER_KEY, max_tokens=800, max_output_tokens=800)
        if surface is RESPONSES:
            assert (over.status_code, over.json()["error"]["param"]) == (400, "max_tokens")
            over = await surface.post(here.front, OTHER_KEY, max_output_tokens=800)
        else:
            assert (over.status_code, over.json()["error"]["message"][:19]) == (400, "'max_output_tokens'")
            over = await surface.post(here.front, OTHER_KEY, max_tokens=800)
        assert (over.status_code, over.json()["error"]["code"]) == (429, "quota_exceeded")
        assert over.headers["x-daalu-fall-through"] == "external_if_allowed"
        field = await surface.post(here.front, OTHER_KEY, chat_template_kwargs={"a": 1})
        assert (field.status_code, field.json()["error"]["code"]) == (400, "field_not_shared")


@both
async def test_a_client_that_goes_away_pays_for_what_it_got(sqlite_store: Store, surface: Surface) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.start_stream()
        for one in (ROLE, chunk("one", done=1), chunk(" two", done=2)):
            await exchange.piece(one)
        await exchange.hung_up.wait()

    async with market(sqlite_store, hosted=False, scripts=(endless,)) as here:
        async with surface.stream(here.front, OTHER_KEY) as (_, parts):
            await until(parts, b" two")
        await asyncio.wait_for(here.lent.received[0].hung_up.wait(), 5)
        call = await here.front.only_call()
        assert (call.outcome, call.completion_tokens, call.path) == ("client_gone", 2, surface.path)
        assert (await here.usage()).completion_tokens == 2


@both
async def test_another_card_is_tried_before_content_and_the_client_sees_one_answer(
    sqlite_store: Store, surface: Surface
) -> None:
    async def broken_before_content(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(ROLE)
        exchange.break_off()

    async with (
        scripted_engine(broken_before_content) as first,
        scripted_engine(broken_before_content) as second,
        serving(sqlite_store, agent_view("one", first.port), agent_view("two", second.port)) as front,
    ):
        second.scripts.clear()
        first.scripts.clear()
        first.otherwise = broken_before_content
        seen = b""
        async with surface.stream(front) as (_, parts):
            async for part in parts:
                seen += part
        assert seen.count(surface.begins) == 1
        assert surface.end_marker in seen
        call = await front.only_call()
        assert (call.outcome, call.completion_tokens) == ("complete", 4)


@both
async def test_pings_come_before_late_content_and_a_late_failure_is_an_error_event(
    sqlite_store: Store, surface: Surface
) -> None:
    go = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await go.wait()
        await exchange.stream(stream_of("Hello"))

    async def late_failure(exchange: Exchange) -> None:
        await go.wait()
        await exchange.send_json({"error": {"message": "no such tool", "code": 400}}, 400)

    limits = Limits(early_headers_s=0.05, ping_every_s=0.05)
    async with (
        scripted_engine(late, late_failure) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
    ):
        async with surface.stream(front) as (_, parts):
            seen = await until(parts, b": ping\n\n: ping\n\n")
            assert b"event:" not in seen
            go.set()
            seen += b"".join([part async for part in parts])
        assert b": x-daalu-call-id=" in seen
        assert surface.end_marker in seen
        go.clear()
        async with surface.stream(front) as (reply, parts):
            seen = await until(parts, b": ping\n\n")
            go.set()
            seen += b"".join([part async for part in parts])
        assert reply.status_code == 200
        [event] = [each for each in seen.split(b"\n\n") if each.startswith(b"event:")]
        name, _, data = event.partition(b"\n")
        assert name == b"event: error"
        assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == "no such tool"


@both
async def test_an_answer_that_is_no_json_is_an_error_of_the_surface(
    sqlite_store: Store, surface: Surface
) -> None:
    async def junk(exchange: Exchange) -> None:
        await exchange.send_json(b"[1, 2]")

    async def junk_stream(exchange: Exchange) -> None:
        await exchange.stream([ROLE, chunk("one", done=1), b"data: {\n\n", *stream_of("x")])

    async with (
        scripted_engine(junk, junk_stream) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
    ):
        reply = await surface.post(front)
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "engine_failed")
        async with surface.stream(front) as (_, parts):
            seen = b"".join([part async for part in parts])
        assert b"event: error\n" in seen
        assert surface.end_marker not in seen


@both
@pytest.mark.parametrize("model", [VENDORS_MODEL, "no-usage"])
async def test_vendors_serve_every_surface(
    sqlite_store: Store, tmp_path: Path, surface: Surface, model: str
) -> None:
    tls = make_tls(tmp_path / "tls", "localhost")
    async with fake_vendor(tls=tls) as vendor:
        url = f"https://localhost:{vendor.port}/v1"
        vendors = configured(tmp_path / "vendors", url, tls.ca, tiny=model)
        async with serving(sqlite_store, vendors=vendors) as front:
            open_market(sqlite_store, (), Terms(subscribed=False, external_cap_micro_usd=10_000))
            await front.economy.refresh()
            async with surface.stream(front, OTHER_KEY) as (reply, parts):
                seen = b"".join([part async for part in parts])
            assert reply.headers["x-daalu-tier"] == "external"
            assert seen.count(surface.delta) == len(WORDS)
            assert surface.end_marker in seen
            [used] = await sqlite_store.read(lambda session: list(session.exec(select(UsageRecord))))
            if model == VENDORS_MODEL:
                assert (used.prompt_tokens, used.completion_tokens) == (
                    VENDORS_PROMPT_TOKENS,
                    COMPLETION_TOKENS,
                )
            assert used.charge_pico_usd > 0
            assert await sqlite_store.read(verify) == []
