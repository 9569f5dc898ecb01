"""Diagnostics over REST and the command line, on a control plane that runs."""

import asyncio
import json
import time
from typing import Any

from daalu_wire.v1 import agent_pb2

from tests.integration.control_plane.api.conftest import Bench

SHOWN_TIMEOUT_S = 30.0
LOOK_S = 0.1


def _result(
    verdict: "agent_pb2.DiagnosticVerdict.ValueType", check: str = "disk"
) -> agent_pb2.DiagnosticResult:
    return agent_pb2.DiagnosticResult(
        check=check,
        title=f"the {check}",
        verdict=verdict,
        saw="4 GiB free\x1b[2J",
        advice="free space",
        duration_ms=7,
        evidence=[agent_pb2.DiagnosticEvidence(command=f"statvfs /{check}", output="4 GiB\nof 500 GiB")],
    )


async def _until_connected(bench: Bench) -> None:
    for _ in range(int(SHOWN_TIMEOUT_S / LOOK_S)):
        if (await bench.get(f"/agents/{bench.agent_id}")).json()["liveness"] in ("live", "never"):
            started = await bench.post(f"/agents/{bench.agent_id}/diagnostics")
            if started.status_code == 202:
                return
            assert started.json()["error"]["code"] in ("not_connected", "not_found", "duplicate")
        await asyncio.sleep(LOOK_S)
    raise AssertionError("the agent was never connected")


async def test_a_run_is_shown_as_it_goes_and_kept_with_its_evidence(bench: Bench) -> None:
    bench.agent.behaviour.diagnostics = [_result(agent_pb2.DIAGNOSTIC_VERDICT_PASS, "memory")]
    await _until_connected(bench)
    bench.agent.behaviour.diagnostics = [
        _result(agent_pb2.DIAGNOSTIC_VERDICT_PASS, "memory"),
        _result(agent_pb2.DIAGNOSTIC_VERDICT_FAIL),
    ]
    run = await asyncio.to_thread(bench.plane.daalu, "diagnostics", "run", bench.agent_id)
    assert run.returncode == 1, run.stderr
    head, *lines = run.stdout.splitlines()
    assert head.startswith(f"looking over host ({bench.agent_id}), run dgn-")
    assert lines == [
        "pass  the memory: 4 GiB free\N{REPLACEMENT CHARACTER}[2J",
        "      free space",
        "FAIL  the disk: 4 GiB free\N{REPLACEMENT CHARACTER}[2J",
        "      free space",
    ]
    run_id = head.rpartition(" ")[2]
    shown = (await asyncio.to_thread(bench.plane.daalu, "diagnostics", "show", run_id)).stdout
    assert "      > statvfs /disk\n        4 GiB\n        of 500 GiB\n" in shown
    listed = json.loads(
        (await asyncio.to_thread(bench.plane.daalu, "diagnostics", "list", bench.agent_id, "--json")).stdout
    )
    assert len(listed) == 2
    assert listed[0]["id"] == run_id
    assert (listed[0]["state"], listed[0]["verdict"], listed[0]["actor"]) == ("ended", "fail", "operator")


async def test_what_cannot_be_run_is_said_in_words(bench: Bench) -> None:
    await _until_connected(bench)
    bench.agent.behaviour.diagnostics = None
    old = await asyncio.to_thread(bench.plane.daalu, "diagnostics", "run", bench.agent_id)
    assert old.returncode == 1
    assert old.stderr == "daalu: broken off: this agent's version knows no diagnostics: upgrade it\n"
    assert (await bench.post("/agents/nobody/diagnostics")).status_code == 404
    assert (await bench.get("/diagnostics/dgn-none")).status_code == 404
    assert (await bench.get(f"/agents/{bench.agent_id}/diagnostics", limit=101)).status_code == 422
    bench.agent.behaviour.diagnostics = [_result(agent_pb2.DIAGNOSTIC_VERDICT_PASS)]
    bench.agent.behaviour.may_go_on = asyncio.Event()
    assert (await bench.post(f"/agents/{bench.agent_id}/diagnostics")).status_code == 202
    again = await bench.post(f"/agents/{bench.agent_id}/diagnostics")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "duplicate")
    assert "daalu diagnostics show dgn-" in again.json()["error"]["message"]
    bench.agent.behaviour.may_go_on.set()


async def test_levels_are_listed_and_a_stressful_one_wants_an_acknowledgement(bench: Bench) -> None:
    bench.agent.behaviour.diagnostics = [_result(agent_pb2.DIAGNOSTIC_VERDICT_PASS, "dcgm")]
    bench.agent.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_STOPPED
    await _until_connected(bench)
    unread = await bench.post(f"/agents/{bench.agent_id}/diagnostics", {"level": 2})
    assert (unread.status_code, unread.json()["error"]["code"]) == (422, "invalid")
    assert "acknowledge_stress" in unread.json()["error"]["message"]
    asked = await asyncio.to_thread(bench.plane.daalu, "diagnostics", "run", bench.agent_id, "--level", "2")
    assert asked.returncode == 1
    assert "nobody can be asked here: Level 2 turns calls away" in asked.stderr
    run = await asyncio.to_thread(
        bench.plane.daalu, "diagnostics", "run", bench.agent_id, "--level", "2", "--yes"
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].startswith("pass  the dcgm")
    bench.agent.behaviour.level_refusal = "card 0 (NVIDIA GeForce RTX 4090) supports level 1 only"
    listed = await asyncio.to_thread(bench.plane.daalu, "diagnostics", "levels", bench.agent_id)
    assert listed.stdout.splitlines()[3].split(maxsplit=4)[4] == bench.agent.behaviour.level_refusal


async def test_one_that_is_under_way_can_be_cancelled(bench: Bench) -> None:
    bench.agent.behaviour.diagnostics = [_result(agent_pb2.DIAGNOSTIC_VERDICT_PASS)] * 2
    await _until_connected(bench)
    bench.agent.behaviour.may_go_on = asyncio.Event()
    started = await _started(bench)
    cancelled = await asyncio.to_thread(bench.plane.daalu, "diagnostics", "cancel", started)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"cancelled {started}\n")
    shown = await _not_running(bench, started)
    assert (shown["state"], shown["error"]) == ("broken_off", "cancelled")
    assert (await bench.post("/diagnostics/dgn-none/cancel")).status_code == 404


async def _started(bench: Bench) -> str:
    """Once the run before has ended."""
    deadline = time.monotonic() + SHOWN_TIMEOUT_S
    while True:
        answer = await bench.post(f"/agents/{bench.agent_id}/diagnostics")
        if answer.status_code == 202:
            return str(answer.json()["id"])
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(LOOK_S)


async def _not_running(bench: Bench, run_id: str) -> Any:
    deadline = time.monotonic() + SHOWN_TIMEOUT_S
    while True:
        shown = (await bench.get(f"/diagnostics/{run_id}")).json()
        if shown["state"] != "running":
            return shown
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(LOOK_S)
