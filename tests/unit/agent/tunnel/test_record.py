"""tunnel.json is read back, or refused with a way out."""

from pathlib import Path

import pytest

from agent.identity import StateError, TunnelSettings, split_endpoint, write_atomically
from agent.process import ProcessMark
from agent.tunnel.record import RunningTunnel
from tests.support.agent_state import tunnel_settings


@pytest.mark.parametrize("process", [None, ProcessMark(12, 345, "boot")])
def test_what_was_written_is_read(tmp_path: Path, process: ProcessMark | None) -> None:
    path = tmp_path / "tunnel.json"
    assert RunningTunnel.load(path) is None
    RunningTunnel("wg-a", process).save(path)
    assert RunningTunnel.load(path) == RunningTunnel("wg-a", process)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "process": 3}'])
def test_damage_names_the_file_and_the_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tunnel.json"
    write_atomically(path, content)
    with pytest.raises(StateError, match=r"tunnel\.json .* Remove it"):
        RunningTunnel.load(path)


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [("control.example:51820", "control.example", 51820), ("[2001:db8::1]:1", "2001:db8::1", 1)],
)
def test_endpoints_are_taken_apart(endpoint: str, host: str, port: int) -> None:
    assert split_endpoint(endpoint) == (host, port)


@pytest.mark.parametrize("endpoint", ["", "host", "host:", ":1", "host:0", "host:65536", "2001:db8::1:1"])
def test_a_bad_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        split_endpoint(endpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_address": "not an address"},
        {"agent_address": "fd77:1:2:3::1"},
        {"agent_address": "fd99::1"},
        {"agent_address": 'fd77:1:2:3::2%x } } }\ninclude "/etc/shadow"'},
        {"hub_address": "fd77:1:2:3::1%eth0"},
        {"hub_address": "FD77:1:2:3::1"},
        {"hub_address": "192.0.0.8", "agent_address": "8.8.8.8", "network": "0.0.0.0/0"},
        {"hub_address": "fe80::1", "agent_address": "fe80::2", "network": "fe80::/64"},
        {"hub_endpoint": "control\x1b[2J.example:51820"},
        {"network": "::/0; flush ruleset"},
        {"hub_public_key": "short"},
        {"mtu_bytes": 576},
        {"keepalive_s": 0},
    ],
)
def test_an_enrolment_answer_that_will_not_do_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        tunnel_settings(**changes)


def test_settings_are_plain_values() -> None:
    assert isinstance(tunnel_settings(), TunnelSettings)
