"""The agent's lock is a part of the checkout's: what is tested here is what hosts get."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def _pins(name: str) -> dict[str, frozenset[str]]:
    """Name and version to hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = re.findall(r"^([a-z0-9-]+==[^ ;]+)(.*)$", text, re.MULTILINE)
    return {pin: frozenset(re.findall(r"sha256:([0-9a-f]{64})", rest)) for pin, rest in found}


def test_every_pin_of_the_agent_is_the_checkouts_own() -> None:
    ours, all_of_them = _pins("agent.lock"), _pins("requirements.lock")
    assert {"grpcio", "protobuf", "cryptography", "nvidia-ml-py"} <= {pin.split("==")[0] for pin in ours}
    assert len(ours) < 10, "the agent is light"
    for pin, hashes in ours.items():
        assert hashes
        assert hashes == all_of_them[pin]
