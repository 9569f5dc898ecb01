"""Load tests by vLLM's own client: through a control plane that runs, over TLS, its gateway and a scripted
agent's engine of a known pace; and the same client beside that engine."""

import asyncio
import csv
import io
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import select

from control_plane.config import DataDirectory, load_settings
from control_plane.enrolment import Authority
from control_plane.fleet.load_test import FIGURES, LoadClient, StepFigures, Sweep
from control_plane.identifiers import AgentId
from control_plane.store import Store, unix_ms
from control_plane.store.load_test_tables import LoadTest
from control_plane.store.tables import ApiKey, Audit, Call, Connection, Deployment
from tests.support.console import browser, choose_password, form_token, new_person, run, sign_in
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.engine_model import MODEL_ID, SERVED_NAME, tiny_model
from tests.support.fleet import enrol, new_scripted_agent
from tests.support.fleet_agent import ScriptedAgent
from tests.support.gateway_engine import scripted_engine
from tests.support.machine import engine_python
from tests.support.paced_engine import PacedEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SEATS = 4
SWEEP = Sweep((1, 4, 8), input_tokens=16, output_tokens=20, requests_per_call=3, duration_s=120)
# Loaded machines start the client slowly.
PATIENCE_S = 150.0


@dataclass(frozen=True)
class Bench:
    plane: ControlPlane
    store: Store
    agent: ScriptedAgent
    agent_id: AgentId
    catalogue: Path
    engine_url: str

    async def ask(self, method: str, path: str, body: object = None) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.plane.token}"}
        base = f"{self.plane.plain_url}/api/v1"
        async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=30) as client:
            return await client.request(method, path, json=body)

    async def start(self, sweep: Sweep = SWEEP) -> Any:
        body = {
            "concurrencies": sweep.concurrencies,
            "input_tokens": sweep.input_tokens,
            "output_tokens": sweep.output_tokens,
            "requests_per_call": sweep.requests_per_call,
            "duration_s": sweep.duration_s,
        }
        return await self.ask("POST", f"/agents/{self.agent_id}/loadtests", body)

    async def ended(self, test_id: str) -> Any:
        return await _until(lambda: self._shown(test_id), lambda shown: shown["state"] != "running")

    async def begun_to_call(self, key_id: str) -> None:
        def calls() -> Awaitable[Any]:
            statement = select(Call.id).where(Call.api_key_id == key_id)
            return self.store.read(lambda session: session.exec(statement).first())

        await _until(calls, lambda call: call is not None)

    async def key_of(self, test_id: str) -> ApiKey:
        def query(session: Any) -> ApiKey:
            key: ApiKey = session.get_one(ApiKey, session.get_one(LoadTest, test_id).api_key_id)
            return key

        return await self.store.read(query)

    async def _shown(self, test_id: str) -> Any:
        return (await self.ask("GET", f"/loadtests/{test_id}")).json()


async def _until(look: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not good(seen := await look()):
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.1)
    return seen


@asynccontextmanager
async def _bench(directory: Path) -> AsyncIterator[Bench]:
    tiny, catalogue = tiny_model(), directory / "catalogue"
    shutil.copytree(tiny.catalogue, catalogue)
    files = catalogue / "tokenizers" / MODEL_ID
    files.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny.models / MODEL_ID / name, files / name)
    flags = ("--allow-direct", "--catalogue", str(catalogue), "--load-client", str(engine_python()))
    plane = await asyncio.to_thread(initialised, directory / "data", *flags)
    # Times so long that what the route adds, on a busy machine 60 ms, is far below a tenth of them.
    paced = PacedEngine(first_token_s=1.5, between_tokens_s=0.05, seats=SEATS)
    authority = Authority.load(DataDirectory(plane.data).authority)
    store = Store(load_settings(plane.data).database_url)
    async with scripted_engine(otherwise=paced.answer) as engine, new_scripted_agent(authority) as agent:
        sample = agent_pb2.EngineSample(
            phase=agent_pb2.ENGINE_PHASE_READY,
            served_name=SERVED_NAME,
            context_tokens=2048,
            max_running_calls=SEATS,
        )
        sample.model.model_id = MODEL_ID
        agent.behaviour.engine = sample
        agent_id = await enrol(store, agent, engine_port=engine.port, connection=Connection.DIRECT)
        wanted = Deployment(agent_id=agent_id, model_id=MODEL_ID, changed_unix_ms=unix_ms())
        await store.write(lambda session: session.add(wanted))
        url = f"http://127.0.0.1:{engine.port}"
        try:
            yield Bench(plane, store, agent, agent_id, catalogue, url)
        finally:
            store.close()


async def _routable(bench: Bench) -> None:
    await _until(lambda: bench.ask("GET", f"/agents/{bench.agent_id}"), _is_ready)


def _is_ready(answer: httpx2.Response) -> bool:
    agent = answer.json()
    engine = agent["engine"] or {}
    return agent["liveness"] == "live" and engine.get("phase") == "ready"


async def _beside(bench: Bench) -> list[StepFigures]:
    client = LoadClient(
        engine_python(),
        bench.engine_url,
        bench.plane.data / "tls" / "server.pem",
        bench.catalogue / "tokenizers",
    )
    return [
        step async for step in client.run(SWEEP, model_id=MODEL_ID, served_name=SERVED_NAME, key="dk-none")
    ]


async def test_through_the_product_the_client_measures_what_it_measures_beside_the_engine(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path) as bench:
        with serving(bench.plane):
            await _routable(bench)
            started = await bench.start()
            assert started.status_code == 202, started.text
            test = await bench.ended(started.json()["id"])
            assert test["state"] == "ended", test
            direct = await _beside(bench)
            through = [StepFigures(**step) for step in test["steps"]]
            assert [step.concurrency for step in through] == [1, 4, 8]
            for ours, theirs in zip(through, direct, strict=True):
                assert (ours.failed, ours.completed) == (0, theirs.completed), (ours, theirs)
                assert ours.itl_p50_ms == pytest.approx(theirs.itl_p50_ms, rel=0.1)
                assert ours.ttft_p50_ms == pytest.approx(theirs.ttft_p50_ms, rel=0.1)
                assert ours.output_tokens_per_s == pytest.approx(theirs.output_tokens_per_s, rel=0.1)
                assert ours.requests_per_s == pytest.approx(theirs.requests_per_s, rel=0.1)
            # The pace is what it was set to.
            assert through[0].itl_p50_ms == pytest.approx(50, rel=0.1)
            # Eight at once get no more from four seats.
            assert test["knee_concurrency"] == SEATS
            limit = (await bench.ask("GET", f"/agents/{bench.agent_id}/queue-limit")).json()
            assert (limit["concurrency"], limit["load_test_id"]) == (SEATS, test["id"])
            key = await bench.key_of(test["id"])
            assert key.revoked_unix_ms is not None
            actions = await bench.store.read(
                lambda session: [row.action for row in session.exec(select(Audit)).all()]
            )
            assert {"load_test.started", "key.created", "key.revoked", "load_test.ended"} <= set(actions)
            text = (await bench.ask("GET", f"/loadtests/{test['id']}/csv")).text
            header, *rows = csv.reader(io.StringIO(text))
            assert (tuple(header), len(rows)) == (FIGURES, 3)
            cleared = await bench.ask("POST", f"/agents/{bench.agent_id}/queue-limit/clear")
            assert cleared.status_code == 200
            assert (await bench.ask("GET", f"/agents/{bench.agent_id}/queue-limit")).json() is None


async def test_a_second_test_and_one_beyond_the_caps_are_refused_and_a_cancelled_one_leaves_no_key(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path) as bench:
        with serving(bench.plane):
            await _routable(bench)
            beyond = await bench.start(Sweep((1, 1_000)))
            assert (beyond.status_code, "256" in beyond.text) == (422, True)
            test_id = (await bench.start()).json()["id"]
            second = await bench.start()
            assert (second.status_code, "already" in second.text) == (409, True)
            key = await bench.key_of(test_id)
            await bench.begun_to_call(key.id)
            await bench.ask("POST", f"/loadtests/{test_id}/cancel")
            assert (await bench.key_of(test_id)).revoked_unix_ms is not None
            test = await bench.ended(test_id)
            assert (test["state"], test["error"]) == ("broken_off", "cancelled")
            limit = await bench.ask("GET", f"/agents/{bench.agent_id}/queue-limit")
            assert limit.json() is None


async def test_the_key_of_a_killed_process_ends_with_its_lease_and_is_revoked_by_the_next(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path) as bench:
        with serving(bench.plane) as process:
            await _routable(bench)
            test_id = (await bench.start()).json()["id"]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            key = await bench.key_of(test_id)
            assert key.revoked_unix_ms is None
            # Good for half a minute at most, whoever is left to look.
            assert key.expires_unix_ms is not None
            assert key.expires_unix_ms <= unix_ms() + 30_000
            process.returncode = 0
        await _until(_now, lambda now: now > (key.expires_unix_ms or 0))
        with serving(bench.plane):
            test = await bench.ended(test_id)
            assert (test["state"], test["error"]) == ("broken_off", "the control plane ended before it did")
            assert (await bench.key_of(test_id)).revoked_unix_ms is not None


async def _now() -> int:
    return unix_ms()


async def test_an_admin_of_the_tenant_starts_one_on_its_own_card_and_nobody_elses_admin_does(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path) as bench:
        with serving(bench.plane):
            await _routable(bench)
            tenant = (await bench.ask("GET", f"/agents/{bench.agent_id}")).json()["tenant_name"]
            await asyncio.to_thread(_through_the_console, bench, tenant)


def _through_the_console(bench: Bench, tenant: str) -> None:
    path = f"/console/cards/{bench.agent_id}/load-tests"
    run(bench.plane, "tenants", "create", "zebra-corp")
    for email, of in (("ada@acme.test", tenant), ("olga@other.test", "zebra-corp")):
        choose_password(bench.plane, new_person(bench.plane, of, email))
    with browser(bench.plane) as admin, browser(bench.plane) as other:
        sign_in(admin, "ada@acme.test")
        sign_in(other, "olga@other.test")
        sweep = {"concurrencies": "1,2", "input_tokens": "16", "output_tokens": "10"}
        beyond = sweep | {"concurrencies": "1,1000", "form_token": form_token(admin.get("/console").text)}
        answer = admin.post(path, data=beyond)
        assert (answer.status_code, "256" in answer.text) == (422, True)
        foreign = sweep | {"form_token": form_token(other.get("/console").text)}
        assert other.post(path, data=foreign).status_code == 404
        assert admin.post(path, data=beyond | sweep).status_code == 303
        deadline = time.monotonic() + PATIENCE_S
        while "Under way" in (page := admin.get(path).text):
            assert time.monotonic() < deadline, page
            time.sleep(0.2)
        assert "asked by ada@acme.test" in page
        assert 'class="curve"' in page
        found = re.search(r"/console/load-tests/([^/]+)/csv", page)
        assert found is not None, page
        header, *rows = csv.reader(io.StringIO(admin.get(found[0]).text))
        assert (tuple(header), len(rows)) == (FIGURES, 2)
        assert other.get(found[0]).status_code == 404
