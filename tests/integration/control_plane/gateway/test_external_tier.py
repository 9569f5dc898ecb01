"""Calls that a vendor serves: who may, what goes out, what it costs, and what becomes of its refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from sqlmodel import select

from control_plane.economy import verify
from control_plane.store import Store
from control_plane.store.economy_tables import ExternalMonth, UsageRecord
from control_plane.vendors import load_vendors
from tests.support.gateway import KEY, OTHER_CODING_KEY, OTHER_KEY, Front, serving
from tests.support.gateway_engine import Exchange, Script, ScriptedEngine
from tests.support.market import Terms, open_market
from tests.support.vendor import COMPLETION_TOKENS, MODEL, PROMPT_TOKENS, WORDS, configured, fake_vendor
from tests.support.vendor_tls import make_tls

TEXT = "".join(WORDS)
# In pico-USD, for each token.
INPUT, OUTPUT = 2_000_000, 5_000_000
BILL = PROMPT_TOKENS * INPUT + COMPLETION_TOKENS * OUTPUT
CENT_MICRO_USD = 10_000
HI: Any = [{"role": "user", "content": "hi"}]


def ask(model: str = MODEL, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": HI, "max_tokens": 20, **fields}


@dataclass
class World:
    front: Front
    vendor: ScriptedEngine

    async def post(self, body: dict[str, Any], key: str = OTHER_KEY) -> httpx2.Response:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=20) as http:
            return await http.post(f"{self.front.url}/v1/chat/completions", json=body)

    async def usage(self) -> list[UsageRecord]:
        return await self.front.store.read(lambda session: list(session.exec(select(UsageRecord))))

    async def spent(self) -> tuple[int, int]:
        """Used and held pico-USD of the month."""
        rows = await self.front.store.read(lambda session: list(session.exec(select(ExternalMonth))))
        return (rows[0].used_pico_usd, rows[0].held_pico_usd) if rows else (0, 0)


@asynccontextmanager
async def world(
    store: Store, directory: Path, *scripts: Script, cap_micro_usd: int | None = CENT_MICRO_USD, **models: str
) -> AsyncIterator[World]:
    tls = make_tls(directory / "tls", "localhost")
    async with fake_vendor(*scripts, tls=tls) as vendor:
        url = f"https://localhost:{vendor.port}/v1"
        vendors = configured(directory / "vendors", url, tls.ca, **models)
        async with serving(store, vendors=vendors) as front:
            open_market(store, (), Terms(subscribed=False, external_cap_micro_usd=cap_micro_usd))
            await front.economy.refresh()
            yield World(front, vendor)
            assert await store.read(verify) == []


async def test_a_stream_goes_to_the_vendor_and_is_charged_by_its_word(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        async with openai.AsyncOpenAI(
            api_key=OTHER_KEY,
            base_url=f"{here.front.url}/v1",
            http_client=httpx2.AsyncClient(),
            max_retries=0,
        ) as client:
            reply = await client.chat.completions.with_raw_response.create(
                **ask(stream=True, user="eve", extra_body={"top_k": 3})
            )
            stream: Any = reply.parse()
            chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
        # Nobody asked for usage.
        assert all(chunk.usage is None for chunk in chunks)
        assert (reply.headers["x-daalu-tier"], reply.headers["x-daalu-model"]) == ("external", MODEL)
        [used] = await here.usage()
        assert (used.vendor, used.tier, used.charge_pico_usd, used.credit_pico_usd) == (
            "fake", "external", BILL, 0,
        )  # fmt: skip
        assert (used.claimed_prompt_tokens, used.claimed_completion_tokens) == (
            PROMPT_TOKENS,
            COMPLETION_TOKENS,
        )
        assert await here.spent() == (BILL, 0)
        assert here.vendor.received[0].json == {
            "model": MODEL,
            "messages": HI,
            "max_tokens": 20,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


async def test_a_whole_answer_is_charged_by_the_vendors_word(sqlite_store: Store, tmp_path: Path) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask())
        assert reply.json()["choices"][0]["message"]["content"] == TEXT
        assert (await here.usage())[0].charge_pico_usd == BILL
        assert await here.spent() == (BILL, 0)
        attempt = (await here.front.attempts())[0]
        assert (attempt.prompt_tokens, attempt.completion_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)


@pytest.mark.parametrize("model", ["crlf", "pretty", "comments", "no-end"])
async def test_odd_streams_end_well_and_are_charged_alike(
    sqlite_store: Store, tmp_path: Path, model: str
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask(model, stream=True))
        assert reply.text.endswith("data: [DONE]\n\n")
        assert (await here.usage())[0].charge_pico_usd == BILL


async def test_without_usage_the_estimate_is_charged_and_told_from_the_vendors_word(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        await here.post(ask("no-usage", stream=True))
        [used] = await here.usage()
        assert (used.claimed_prompt_tokens, used.claimed_completion_tokens) == (None, None)
        # Two characters of prompt.
        estimate = (1, -(-len(TEXT) // 4))
        assert (used.counted_prompt_tokens, used.counted_completion_tokens) == estimate
        assert used.charge_pico_usd == estimate[0] * INPUT + estimate[1] * OUTPUT


async def test_a_charge_never_exceeds_what_was_held_whatever_the_vendor_says(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        await here.post(ask("greedy", stream=True))
        [used] = await here.usage()
        assert used.claimed_completion_tokens == 500_000
        # The prompt's bound is below 1,000 tokens here.
        assert used.charge_pico_usd <= 1_000 * INPUT + 20 * OUTPUT
        assert await here.spent() == (used.charge_pico_usd, 0)


async def test_no_call_goes_out_for_a_tenant_that_was_not_allowed_it(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path, cap_micro_usd=None) as here:
        reply = await here.post(ask())
        assert reply.status_code >= 400
        assert (here.vendor.connections, await here.usage()) == (0, [])


async def test_the_models_of_vendors_are_listed_for_tenants_that_may_use_them(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here, httpx2.AsyncClient() as http:
        listed = {}
        for key in (OTHER_KEY, KEY):
            reply = await http.get(f"{here.front.url}/v1/models", headers={"authorization": f"Bearer {key}"})
            listed[key] = {each["id"]: each["max_model_len"] for each in reply.json()["data"]}
        assert listed[OTHER_KEY][MODEL] == 4_096
        assert listed[KEY] == {}


async def test_a_coding_call_never_goes_out(sqlite_store: Store, tmp_path: Path) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask(), OTHER_CODING_KEY)
        assert reply.status_code >= 400
        assert here.vendor.connections == 0


async def test_the_cap_is_the_end_of_it(sqlite_store: Store, tmp_path: Path) -> None:
    # A call holds some 400 tokens of prompt bound: 0.0009 USD.
    async with world(sqlite_store, tmp_path, cap_micro_usd=1_000) as here:
        replies = [await here.post(ask()) for _ in range(20)]
        served = [reply for reply in replies if reply.status_code == 200]
        refused = {reply.json()["error"]["code"] for reply in replies if reply.status_code != 200}
        assert 0 < len(served) < 20
        assert refused == {"spend_cap_reached"}
        assert len(here.vendor.received) == len(served)
        assert await here.spent() == (len(served) * BILL, 0)


async def test_a_call_with_a_field_that_vendors_are_not_sent_is_refused_by_its_name(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask(structured_outputs={"choice": ["a"]}))
        assert reply.status_code == 400
        assert "structured_outputs" in reply.json()["error"]["message"]
        assert here.vendor.connections == 0


@pytest.mark.parametrize(
    ("model", "status", "error"),
    [
        ("redirect", 502, "vendor_redirect"),
        ("refuse-401", 502, "vendor_401"),
        ("refuse-429", 503, "vendor_429"),
        ("refuse-500", 502, "vendor_500"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_refuses_costs_nothing_and_its_words_stay_here(
    sqlite_store: Store, tmp_path: Path, model: str, status: int, error: str, *, stream: bool
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask(model, stream=stream))
        assert reply.status_code == status
        assert "org-77" not in reply.text
        [attempt] = await here.front.attempts()
        assert attempt.error == error
        assert (await here.usage(), await here.spent()) == ([], (0, 0))
        assert len(here.vendor.received) == 1


async def test_a_request_at_fault_is_refused_in_the_vendors_words(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask("refuse-400"))
        assert reply.status_code == 400
        assert reply.json()["error"]["message"].endswith("'max_tokens' is too large")
        [attempt] = await here.front.attempts()
        assert attempt.error == "vendor_400"
        assert await here.spent() == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_in_place_of_an_answer_is_a_failed_attempt(
    sqlite_store: Store, tmp_path: Path, *, stream: bool
) -> None:
    async def no_answer(exchange: Exchange) -> None:
        await exchange.send_json({"error": {"message": "org-77 is overloaded"}})

    scripts = () if stream else (no_answer,)
    async with world(sqlite_store, tmp_path, *scripts) as here:
        reply = await here.post(ask("error-in-stream" if stream else MODEL, stream=stream))
        assert reply.status_code == 502
        assert "org-77" not in reply.text
        [attempt] = await here.front.attempts()
        assert attempt.error == "vendor_error"
        assert await here.spent() == (0, 0)


async def test_an_answer_that_breaks_off_is_charged_as_far_as_it_was_delivered(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        reply = await here.post(ask("break", stream=True))
        assert "data: [DONE]" not in reply.text
        assert "broke off" in reply.text
        [used] = await here.usage()
        assert (used.counted_prompt_tokens, used.counted_completion_tokens) == (1, 3)
        assert await here.spent() == (INPUT + 3 * OUTPUT, 0)


async def test_a_client_that_leaves_stops_the_vendor_within_a_second_and_pays_what_it_got(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async with world(sqlite_store, tmp_path) as here:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}) as http,
            http.stream(
                "POST", f"{here.front.url}/v1/chat/completions", json=ask("stall", stream=True)
            ) as reply,
        ):
            seen = b""
            async for part in reply.aiter_raw():
                seen += part
                if b" from" in seen:
                    break
        async with asyncio.timeout(1):
            await here.vendor.received[0].hung_up.wait()
        call = await here.front.only_call()
        assert call.outcome == "client_gone"
        assert await here.spent() == (INPUT + 3 * OUTPUT, 0)


async def test_a_connection_that_the_vendor_closed_meanwhile_is_no_failure(
    sqlite_store: Store, tmp_path: Path
) -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.break_off()

    async with world(sqlite_store, tmp_path) as here:
        assert (await here.post(ask())).status_code == 200
        here.vendor.scripts.append(hang_up)
        assert (await here.post(ask())).status_code == 200
        assert here.vendor.connections == 2
        assert await here.spent() == (2 * BILL, 0)


async def test_the_next_vendor_of_the_model_is_tried_when_one_fails(
    sqlite_store: Store, tmp_path: Path
) -> None:
    tls = make_tls(tmp_path / "tls", "localhost")
    async with fake_vendor(tls=tls) as vendor:
        url = f"https://localhost:{vendor.port}/v1"
        [good] = configured(tmp_path / "a", url, tls.ca, small=MODEL).all
        text = (tmp_path / "a" / "vendors.toml").read_text()
        broken = text.replace('"fake"', '"broken"').replace(MODEL, "refuse-500")
        (tmp_path / "a" / "vendors.toml").write_text(broken + text)
        vendors = load_vendors(tmp_path / "a" / "vendors.toml", default=tmp_path)
        assert [each.name for each in vendors.all] == ["broken", good.name]
        async with serving(sqlite_store, vendors=vendors) as front:
            open_market(sqlite_store, (), Terms(subscribed=False, external_cap_micro_usd=CENT_MICRO_USD))
            await front.economy.refresh()
            here = World(front, vendor)
            reply = await here.post(ask("small"))
            assert reply.json()["choices"][0]["message"]["content"] == TEXT
            assert [attempt.error for attempt in await front.attempts()] == ["vendor_500", None]
            assert [used.vendor for used in await here.usage()] == ["fake"]
            assert [json.loads(one.body)["model"] for one in vendor.received] == ["refuse-500", MODEL]
            assert await here.spent() == (BILL, 0)
