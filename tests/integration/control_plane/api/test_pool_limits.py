"""An owner's limits on pool work, over REST and the command line, on a control plane that runs."""

import asyncio
import json
import subprocess
from typing import Any

import httpx2
from sqlmodel import Session, select

from control_plane.config import load_settings
from control_plane.store import Store
from control_plane.store.tables import Audit
from tests.integration.control_plane.api.conftest import Bench

SHOWN_TIMEOUT_S = 20.0
LOOK_S = 0.1
REFUSED: tuple[tuple[dict[str, object], str], ...] = (
    ({"hours": ["mon 08:00-09:00"]}, "hours need a time zone"),
    ({"hours": ["mon 08:00-09:00"], "zone": "Berlin"}, "knows no time zone 'Berlin'"),
    ({"hours": ["mondays"], "zone": "UTC"}, "'mondays' is no window"),
    ({"zone": "UTC"}, "nothing without hours"),
    ({"max_celsius": 5}, "max_celsius 5: 30 to 110"),
    ({"max_watts": 10**30}, "max_watts"),
    ({"max_watts": True}, "max_watts"),
    ({"max_celsius": "80"}, "max_celsius"),
    ({"max_kelvin": 300}, "max_kelvin"),
)
NO_LIMITS: dict[str, object] = {"hours": [], "zone": None, "max_celsius": None, "max_watts": None}


async def _daalu(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(bench.plane.daalu, "agents", "limits", *arguments)


async def _closed_by(bench: Bench, kind: str | None) -> Any:
    """The limits, once this one is what closes the agent."""
    found: Any = None
    for _ in range(int(SHOWN_TIMEOUT_S / LOOK_S)):
        found = (await bench.get(f"/agents/{bench.agent_id}/limits")).json()
        if found["closed_by"] == kind:
            return found
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"not closed by {kind} within {SHOWN_TIMEOUT_S:g} s: {found}")


def _audited(session: Session) -> list[tuple[str, str, Any]]:
    rows = session.exec(select(Audit).order_by(Audit.id))  # type: ignore[arg-type]
    return [
        (row.actor, row.action, json.loads(row.detail))
        for row in rows
        if row.action.startswith("agent.pool_limits")
    ]


async def test_limits_are_set_one_by_one_shown_enforced_audited_and_cleared(bench: Bench) -> None:
    # The card has 61 °C and does not say what it takes.
    set_ = await _daalu(bench, "set", bench.agent_id, "--max-celsius", "60")
    assert set_.returncode == 0, set_.stderr
    found = await _closed_by(bench, "temperature")
    assert "above its owner's limit of 60 °C" in found["words"]
    for _ in range(int(SHOWN_TIMEOUT_S / LOOK_S)):
        if bench.agent.behaviour.engine.pool_refused:
            break
        await asyncio.sleep(LOOK_S)
    assert bench.agent.behaviour.engine.pool_refused
    hours = ("--hours", "mon-fri 00:00-24:00", "--hours", "sat,sun 00:00-24:00", "--zone", "Europe/Berlin")
    page = await _daalu(bench, "set", bench.agent_id, *hours, "--max-celsius", "80")
    assert "mon,tue,wed,thu,fri 00:00-24:00; sat,sun 00:00-24:00" in page.stdout
    await _closed_by(bench, None)
    await _daalu(bench, "set", bench.agent_id, "--max-watts", "50")
    found = await _closed_by(bench, "power")
    assert "its power is not known" in found["words"]
    assert (found["max_celsius"], found["zone"]) == (80, "Europe/Berlin")
    detail = (await bench.get(f"/agents/{bench.agent_id}")).json()
    assert detail["pool_closed"] == found["words"]
    await _daalu(bench, "clear", bench.agent_id, "--max-watts", "--hours")
    found = await _closed_by(bench, None)
    assert {name: found[name] for name in NO_LIMITS} == NO_LIMITS | {"max_celsius": 80}
    page = await _daalu(bench, "clear", bench.agent_id)
    assert "always" in page.stdout
    assert "no limit forbids pool work" in page.stdout
    store = Store(load_settings(bench.plane.data).database_url)
    audited = await store.read(_audited)
    store.close()
    assert {actor for actor, _, _ in audited} == {"operator"}
    assert [action.removeprefix("agent.pool_limits_") for _, action, _ in audited] == ["set"] * 4 + [
        "cleared"
    ]
    assert audited[0][2] == NO_LIMITS | {"max_celsius": 60}


async def test_limits_that_cannot_be_kept_are_refused_and_change_nothing(bench: Bench) -> None:
    headers = {"authorization": f"Bearer {bench.plane.token}"}
    async with httpx2.AsyncClient(base_url=f"{bench.plane.plain_url}/api/v1", headers=headers) as client:
        for wanted, words in REFUSED:
            answer = await client.patch(f"/agents/{bench.agent_id}/limits", json=wanted)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid"), wanted
            assert words in answer.json()["error"]["message"]
        found = (await client.get(f"/agents/{bench.agent_id}/limits")).json()
    assert {name: found[name] for name in NO_LIMITS} == NO_LIMITS


async def test_an_agent_that_is_not_there_has_no_limits(bench: Bench) -> None:
    assert (await bench.get("/agents/nobody/limits")).status_code == 404
    refused = await _daalu(bench, "set", "nobody", "--max-watts", "50")
    assert (refused.returncode, "there is no agent 'nobody'" in refused.stderr) == (1, True)
    refused = await _daalu(bench, "set", bench.agent_id)
    assert (refused.returncode, "say what to limit" in refused.stderr) == (1, True)
