"""`daalu chat` over a real gateway, and what a program may ask of its own calls."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.control_plane import INTERRUPTIBLE_DAALU
from tests.support.usage_world import COMPLETION, MODEL, SLOWLY, UsageWorld, usage_world

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsageWorld]:
    with usage_world(tmp_path_factory.mktemp("chat")) as world:
        yield world


def _key(world: UsageWorld, role: str) -> dict[str, str]:
    return {"DAALU_API_KEY": world.keys[role].text}


def _environment(world: UsageWorld, role: str) -> dict[str, str]:
    return os.environ | _key(world, role) | {"DAALU_DATA": str(world.plane.data)}


def _own_call(world: UsageWorld, role: str, call_id: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {world.keys[role].text}"}
    return httpx2.get(f"{world.plane.plain_url}/own/calls/{call_id}", headers=headers)


def test_an_answer_goes_to_the_output_and_where_it_came_from_beside_it(world: UsageWorld) -> None:
    result = world.plane.daalu("chat", "--once", "pools", **_key(world, "consumer"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{COMPLETION} to pools\n"
    where, model, tokens, cost, first, call_id = result.stderr.strip().strip("[]").split("; ")
    assert (where, model) == ("pool, community", "auto")
    assert tokens.endswith("out")
    assert cost.endswith(" USD")
    assert float(cost.removesuffix(" USD")) > 0
    assert first.startswith("first token after ")
    assert _own_call(world, "consumer", call_id).json()["charge_pico_usd"] > 0


def test_an_own_cards_answer_is_free_and_the_figures_are_json_for_programs(world: UsageWorld) -> None:
    arguments = ("chat", "--model", MODEL, "--purpose", "coding", "--max-tokens", "16", "--json")
    result = subprocess.run(
        [*INTERRUPTIBLE_DAALU, *arguments], input="piped in", capture_output=True, text=True,
        timeout=PATIENCE_S, env=_environment(world, "owner"), check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["text"] == f"{COMPLETION} to piped in"
    call = found["call"]
    assert (call["tier"], call["model"], call["outcome"]) == ("own", MODEL, "complete")
    assert not call["charge_pico_usd"]
    assert call.keys() & {"agent_id", "agent_name", "tenant_id", "credit_pico_usd"} == set()


@pytest.mark.parametrize(
    ("arguments", "role", "told"),
    [
        (("--once", "hi", "--model", "no-such-model"), "owner", "no-such-model"),
        (("--once", "  "), "owner", "the prompt is empty"),
        (("--once", "hi", "--key", "sk-wrong"), "owner", "the API key is not valid"),
        (("--once", "hi", "--model", MODEL), "none", MODEL),
    ],
)
def test_a_refusal_is_told_in_the_control_planes_words(
    world: UsageWorld, arguments: tuple[str, ...], role: str, told: str
) -> None:
    result = world.plane.daalu("chat", *arguments, **_key(world, role))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("daalu: ")
    assert told in result.stderr


def test_without_a_key_it_says_how_to_have_one(world: UsageWorld) -> None:
    result = world.plane.daalu("chat", "--once", "hi")
    assert (result.returncode, result.stderr.startswith("daalu: no API key")) == (1, True)


def test_ctrl_c_stops_one_answer_and_the_conversation_goes_on(world: UsageWorld) -> None:
    ours, theirs = pty.openpty()
    environment = _environment(world, "owner") | {"TERM": "dumb"}
    process = subprocess.Popen(
        [*INTERRUPTIBLE_DAALU, "chat"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""

    def read_until(wanted: bytes) -> None:
        nonlocal seen
        end_s = time.monotonic() + PATIENCE_S
        while wanted not in seen:
            ready, _, _ = select.select([ours], [], [], end_s - time.monotonic())
            assert ready, seen
            seen += os.read(ours, 65_536)
        seen = seen.partition(wanted)[2]

    try:
        read_until(b"> ")
        os.write(ours, SLOWLY.encode() + b"\n")
        read_until(COMPLETION.encode())
        process.send_signal(signal.SIGINT)
        read_until(b"; stopped; call")
        read_until(b"> ")
        os.write(ours, b"again\n")
        read_until(f"{COMPLETION} to again".encode())
        read_until(b"free, on an own card")
        read_until(b"> ")
        os.write(ours, b"\x04")
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_call_is_told_to_the_key_that_made_it_and_to_no_other(world: UsageWorld) -> None:
    call_id = world.calls["consumer"][0]
    assert _own_call(world, "consumer", call_id).status_code == 200
    for role in ("owner", "provider", "none"):
        foreign = _own_call(world, role, call_id)
        unknown = _own_call(world, role, "call_unknown")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.text.replace(call_id, "") == unknown.text.replace("call_unknown", "")
    other = world.plane.daalu(
        "keys", "create", "other", "--tenant", world.tenant_ids["consumer"], "--json"
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    address = f"{world.plane.plain_url}/own/calls/{call_id}"
    for token, status in (
        (json.loads(other.stdout)["secret"], 404),
        (world.plane.token, 401),
        ("dk-none", 401),
    ):
        headers = {"authorization": f"Bearer {token}"}
        assert httpx2.get(address, headers=headers).status_code == status
    assert httpx2.get(address).status_code == 401
