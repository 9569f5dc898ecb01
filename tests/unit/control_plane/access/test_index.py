"""The access index, in the process that changes keys and in another."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest

from control_plane.access import AccessIndex, Temporary, create_key, create_tenant
from control_plane.identifiers import AgentId
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Purpose

PROMISE_S = 1.0

_REVOKER = """
import sys
from control_plane.access import revoke_key
from control_plane.store import Store, unix_ms
store = Store(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    store.write_now(lambda session: revoke_key(session, key_id=line.strip(), actor="operator"))
    print("done", flush=True)
store.close()
"""


@pytest.fixture
async def index(store: Store) -> AsyncIterator[AccessIndex]:
    index = AccessIndex(store)
    running = asyncio.ensure_future(index.run())
    yield index
    running.cancel()
    await asyncio.wait([running])


async def _new_key(store: Store, name: str = "acme") -> tuple[str, str]:
    tenant = await store.write(lambda session: create_tenant(session, name=name, actor="operator"))
    key = await store.write(
        lambda session: create_key(
            session, tenant=tenant, name="laptop", purpose=Purpose.CODING, actor="operator"
        )
    )
    return key.row.id, key.text


async def _until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until the condition held; fails after `timeout_s`."""
    started = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is the promise itself
            await asyncio.sleep(0.01)
    return time.monotonic() - started


async def test_a_good_key_names_its_tenant_and_purpose(store: Store) -> None:
    key_id, text = await _new_key(store)
    index = AccessIndex(store)
    await index.refresh()
    principal = index.authenticate(text)
    assert principal is not None
    assert (principal.tenant_name, principal.api_key_id, principal.purpose) == (
        "acme", key_id, Purpose.CODING,
    )  # fmt: skip


@pytest.mark.parametrize(
    "token", ["", "dk-", "sk-" + "x" * 43, "dk-" + "x" * 43, "dk-" + "x" * 100_000, "dk-é"]
)
async def test_what_is_no_good_key_is_nobody(store: Store, token: str) -> None:
    await _new_key(store)
    index = AccessIndex(store)
    await index.refresh()
    assert index.authenticate(token) is None


async def test_a_new_key_is_good_within_a_second(store: Store, index: AccessIndex) -> None:
    _, text = await _new_key(store)
    assert await _until(lambda: index.authenticate(text) is not None, 10) < PROMISE_S


async def test_a_key_revoked_in_another_process_is_refused_within_a_second(
    store: Store, index: AccessIndex
) -> None:
    key_id, text = await _new_key(store)
    _, other = await _new_key(store, "other")
    await _until(lambda: index.authenticate(text) is not None, 10)
    await _until(lambda: index.authenticate(other) is not None, 10)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _REVOKER, store.url.render_as_string(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        process.stdin.write(f"{key_id}\n".encode())
        assert await process.stdout.readline() == b"done\n"
        assert await _until(lambda: index.authenticate(text) is None, 10) < PROMISE_S
        assert index.authenticate(other) is not None
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30)


async def test_a_temporary_key_is_good_until_its_end_with_nobody_left_to_revoke_it(store: Store) -> None:
    agent_id = AgentId("agt-own")
    tenant = await store.write(lambda session: create_tenant(session, name="acme", actor="operator"))
    ends = unix_ms() + 1_500
    key = await store.write(
        lambda session: create_key(
            session,
            tenant=tenant,
            name="load test",
            purpose=Purpose.GENERAL,
            actor="operator",
            temporary=Temporary(ends, agent_id),
        )
    )
    index = AccessIndex(store)
    await index.refresh()
    principal = index.authenticate(key.text)
    assert principal is not None
    assert principal.only_agent_id == agent_id
    await _until(lambda: unix_ms() >= ends, 5)
    assert index.authenticate(key.text) is None
