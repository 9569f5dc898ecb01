"""An agent's samples, from the wire to REST and the command line, on a control plane that runs."""

import asyncio
import json
from typing import Any

import httpx2

from tests.integration.control_plane.api.conftest import Bench

SHOWN_TIMEOUT_S = 30.0
LOOK_S = 0.2


async def _recorded(bench: Bench, path: str) -> Any:
    """The last hour, once there is something in it."""
    for _ in range(int(SHOWN_TIMEOUT_S / LOOK_S)):
        found = (await bench.get(path, points=400)).json()
        for card in found["cards"]:
            if any(value is not None for value in card["fields"]["temperature_celsius"]["mean"]):
                return found
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"no history of the agent within {SHOWN_TIMEOUT_S:g} s")


async def test_what_an_agent_samples_is_shown_by_rest_and_the_command_line(bench: Bench) -> None:
    path = f"/agents/{bench.agent_id}/telemetry"
    found = await _recorded(bench, path)
    (card,) = found["cards"]
    assert (card["card_uuid"], card["card_index"], card["simulated"]) == ("GPU-1", 0, True)
    temperature = card["fields"]["temperature_celsius"]
    assert temperature["unit"] == "celsius"
    assert {value for value in temperature["mean"] if value is not None} == {61}
    assert {value for value in temperature["most"] if value is not None} == {61}
    assert set(card["fields"]["power_watts"]["mean"]) == {None}
    assert ["hardware_thermal"] in card["fields"]["throttle"]["reasons"]
    assert 2 in found["engine"]["fields"]["kv_cache_percent"]["mean"]
    only = (await bench.get(path, card="engine", field="waiting_calls")).json()
    assert (only["cards"], list(only["engine"]["fields"])) == ([], ["waiting_calls"])
    raw = (await bench.get(path, **{"from": found["to_unix_ms"] - 60_000, "to": found["to_unix_ms"]})).json()
    assert raw["step_ms"] == 0
    assert raw["cards"][0]["fields"]["temperature_celsius"]["least"] is None

    def daalu(*flags: str) -> str:
        result = bench.plane.daalu("agents", "history", bench.agent_id, *flags)
        assert result.returncode == 0, result.stderr
        return result.stdout

    page = await asyncio.to_thread(daalu, "--points", "400")
    assert "card 0  GPU-1 (simulated)" in page
    assert "throttle: hardware thermal" in page
    assert "power" not in page
    detail = (await bench.get(f"/agents/{bench.agent_id}")).json()
    assert detail["reliability"]["uptime_percent"] == 100
    shown = json.loads(await asyncio.to_thread(daalu, "--json", "--points", "100", "--hours", "24"))
    assert shown["step_ms"] == 900_000


async def test_a_range_that_makes_no_sense_is_refused_in_words(bench: Bench) -> None:
    path = f"/agents/{bench.agent_id}/telemetry"
    for params, status in (
        ({"from": 10, "to": 10}, 422),
        ({"from": 10, "to": 5}, 422),
        ({"from": 0}, 422),
        ({"from": "yesterday"}, 422),
        ({"from": -1, "to": 5}, 422),
        ({"points": 1}, 422),
        ({"points": 2_001}, 422),
        ({"field": "price"}, 404),
    ):
        answer = await bench.get(path, **params)
        assert answer.status_code == status, params
        assert answer.json()["error"]["message"]
    assert (await bench.get("/agents/nobody/telemetry")).status_code == 404


async def test_metrics_are_all_the_operators_and_of_its_own_a_tenants(bench: Bench) -> None:
    await _recorded(bench, f"/agents/{bench.agent_id}/telemetry")
    tenant = (await bench.get(f"/agents/{bench.agent_id}")).json()["tenant_id"]

    def key(tenant_name: str) -> str:
        made = bench.plane.daalu("keys", "create", "scraper", "--tenant", tenant_name)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    async def scraped(*authorization: str) -> httpx2.Response:
        headers = [("authorization", value) for value in authorization]
        async with httpx2.AsyncClient() as client:
            return await client.get(f"{bench.plane.plain_url}/metrics", headers=headers)

    operators = await scraped(f"Bearer {bench.plane.token}")
    assert operators.headers["content-type"].startswith("text/plain")
    assert f'agent_id="{bench.agent_id}"' in operators.text
    assert "daalu_store_writes_waiting" in operators.text
    await asyncio.to_thread(bench.plane.daalu, "tenants", "create", "stranger")
    own = await scraped(f"Bearer {await asyncio.to_thread(key, tenant)}")
    assert 'UUID="GPU-1"' in own.text
    assert f'agent_id="{bench.agent_id}"' in own.text
    assert 'simulated="true"' in own.text
    assert "daalu_store_writes_waiting" not in own.text
    strangers = await scraped(f"Bearer {await asyncio.to_thread(key, 'stranger')}")
    assert strangers.status_code == 200
    assert bench.agent_id not in strangers.text
    for bad in ((), ("Bearer",), ("Bearer dk-nobody",), (f"Basic {bench.plane.token}",), ("Bearer x",) * 2):
        answer = await scraped(*bad)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), bad
