"""The gate in a real server that is killed in the middle of a call."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine.receipts import JournalReader
from tests.support.engine_gate import new_attempt, receipts, records, ticket, write_gate_config
from tests.support.engine_model import free_port
from tests.support.programs import eventually

SERVER = Path(__file__).parents[3] / "support" / "engine_uvicorn.py"
ROOT = SERVER.parents[2]

Start = Callable[[], tuple[subprocess.Popen[bytes], int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the server, wait until it listens."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, **write_gate_config(tmp_path), "PYTHONPATH": str(ROOT)}

    def run() -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        with (tmp_path / "server.log").open("ab") as log:
            server = subprocess.Popen([sys.executable, SERVER, str(port)], env=environment, stderr=log)
        started.append(server)
        eventually(lambda: answers(port), "the server listens", timeout_s=20)
        return server, port

    yield run
    for server in started:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    try:
        return status(port, None) == 401
    except ConnectionRefusedError:
        return False


@contextlib.contextmanager
def asking(port: int, header: bytes | None, tokens: int = 3) -> Iterator[http.client.HTTPResponse]:
    """Hangs up at the end of the block."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        headers = {"x-daalu-ticket": header.decode()} if header else {}
        connection.request("POST", "/v1/completions", json.dumps({"max_tokens": tokens}), headers)
        with connection.getresponse() as response:
            yield response


def status(port: int, header: bytes | None) -> int:
    with asking(port, header) as response:
        return response.status


def read(port: int, header: bytes) -> bytes:
    with asking(port, header) as response:
        return response.read()


def kill(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGKILL)
    server.wait()


def test_a_call_cut_by_kill_9_is_accounted_for_when_the_gate_is_back(tmp_path: Path, start: Start) -> None:
    server, port = start()
    assert b"[DONE]" in read(port, ticket("whole"))
    cut = ticket("cut")
    with asking(port, cut, tokens=10_000) as stream:
        stream.readline()
        kill(server)
    assert [receipt["attempt_id"] for receipt in receipts(tmp_path)] == ["whole"]

    server, port = start()
    found = [(r["sequence"], r["attempt_id"], r["outcome"]) for r in receipts(tmp_path)]
    assert found == [(1, "whole", "COMPLETE"), (2, "cut", "INTERRUPTED")]
    assert status(port, cut) == 403


def test_a_caller_who_hangs_up_leaves_a_receipt_of_what_was_sent(tmp_path: Path, start: Start) -> None:
    _, port = start()
    with asking(port, ticket(new_attempt()), tokens=200) as stream:
        for _ in range(6):
            stream.readline()
    (receipt,) = eventually(lambda: receipts(tmp_path), "the receipt", timeout_s=10)
    assert receipt["outcome"] == "CALLER_GONE"
    assert 3 <= receipt["completion_tokens"] <= 200


def test_no_work_is_done_for_a_refused_request(tmp_path: Path, start: Start) -> None:
    _, port = start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    # The gate may hang up before the body is through.
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with contextlib.closing(connection), gone:
        connection.request("POST", "/v1/completions", b"x" * (20 << 20))
        with connection.getresponse() as response:
            assert response.status == 401
    assert [record["kind"] for record in records(tmp_path)] == ["opened"]


async def test_the_daemon_reads_on_over_the_engines_restart(tmp_path: Path, start: Start) -> None:
    reader = JournalReader(tmp_path / "journal").receipts(0)
    server, port = start()
    read(port, ticket("one"))
    assert (await anext(reader)).attempt_id == "one"
    kill(server)
    _, port = start()
    read(port, ticket("two"))
    receipt = await anext(reader)
    assert (receipt.sequence, receipt.attempt_id) == (2, "two")
    assert receipt.outcome == agent_pb2.RECEIPT_OUTCOME_COMPLETE
