"""A revoked agent loses its traffic within two seconds, for good."""

import json
import socket
import time
from typing import Any

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME
from tests.support.programs import eventually
from tests.support.raw_client import RawClient

PATH = "/v1/chat/completions"
DEADLINE_S = 2.0
LONG: dict[str, Any] = {
    "model": SERVED_NAME,
    "messages": [{"role": "user", "content": "Go on"}],
    "max_tokens": 8000,
    "ignore_eos": True,
    "stream": True,
}


def test_its_streams_end_its_tunnel_closes_and_its_old_keys_are_worth_nothing(
    world: World, raw: RawClient
) -> None:
    control, agent = world.system.control, world.owner.agent
    address = control.agent(agent.name)["tunnel_address"]
    with raw.stream(PATH, LONG) as stream:
        stream.contents(5)
        control.revoke(agent.name)
        revoked = time.monotonic()
        events = [data for data in stream.events() if data != "[DONE]"]
        assert time.monotonic() - revoked < DEADLINE_S
    assert json.loads(events[-1])["error"]["message"]
    eventually(
        lambda: address not in world.system.network.control.run(["wg", "show", control.interface]).stdout,
        "the hub has dropped the peer",
        timeout_s=DEADLINE_S,
    )
    refused = raw.ask("POST", PATH, json.dumps(LONG | {"stream": False}).encode())
    # Where a pool has priced the model, it is one that this tenant has no right to.
    assert refused.status in (403, 404, 503)

    agent.daemon.stop()
    agent.start()
    assert not _reaches(world, address), "a restarted daemon with its old keys stays out"
    said = agent.enrol(control.invite("owner"), check=False)
    assert control.agent(agent.name)["liveness"] == "revoked", said

    agent.daemon.stop()
    (agent.state / "identity.json").unlink()
    said = agent.enrol(control.invite("owner"), check=False)
    assert "revoked" in said.lower(), "a new invite does not bring the old keys back"


def _reaches(world: World, address: str) -> bool:
    with world.system.network.control.entered():
        connection = socket.socket(socket.AF_INET6)
    with connection:
        connection.settimeout(5)
        try:
            connection.connect((address, 7443))
        except OSError:
            return False
        return True
