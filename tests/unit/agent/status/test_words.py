"""A snapshot survives its journey as JSON and reads as words; unknown never reads as 0."""

import datetime as dt
from dataclasses import replace

import pytest
from daalu_wire.v1 import agent_pb2

from agent.status import Snapshot, describe
from agent.tunnel import LinkStatus
from tests.support.agent_state import identity, tunnel_settings

NOW = dt.datetime(2026, 5, 4, 12, 0, 0, tzinfo=dt.UTC)
CARD = agent_pb2.Card(index=0, uuid="GPU-1", name=agent_pb2.TextReading(value="RTX 2000 Ada"))
SAMPLE = agent_pb2.CardSample(
    uuid="GPU-1",
    temperature_celsius=agent_pb2.Reading(value=61),
    utilisation_percent=agent_pb2.Reading(unsupported=True),
    memory_used_bytes=agent_pb2.Reading(value=2**30),
    memory_total_bytes=agent_pb2.Reading(value=2**34),
    power_watts=agent_pb2.Reading(error="Unknown Error"),
)
FULL = Snapshot(
    taken=NOW,
    identity=identity(tunnel_settings(hub_endpoint="hub.example:51820")),
    daemon_pid=42,
    certificate_expires=NOW + dt.timedelta(days=7),
    link=LinkStatus(
        "up (wireguard-go, process 43)",
        "fd77::2",
        "daalu",
        "hub.example:51820",
        int(NOW.timestamp()) - 8,
        2**21,
        90,
    ),
    card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK),
    cards=(CARD,),
    samples=(SAMPLE,),
    engine=agent_pb2.EngineSample(
        phase=agent_pb2.ENGINE_PHASE_READY,
        model=agent_pb2.CatalogueReference(model_id="m-8b"),
        served_name="m",
        running_calls=3,
        waiting_calls=1,
    ),
    last_contact=NOW - dt.timedelta(seconds=2),
    faults=("something is odd",),
)


@pytest.mark.parametrize("snapshot", [FULL, Snapshot(NOW, None)])
def test_a_snapshot_is_one_line_and_is_read_back(snapshot: Snapshot) -> None:
    line = snapshot.dump()
    assert line.count(b"\n") == 1
    assert Snapshot.load(line) == snapshot


@pytest.mark.parametrize("line", [b"{}", b"[]", b"nonsense", FULL.dump().replace(b'"cards"', b'"tiles"')])
def test_another_versions_snapshot_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Snapshot.load(line)


def test_everything_is_said_once() -> None:
    assert (
        describe(FULL)
        == """\
daemon:        running, process 42
identity:      host-1 (agt-0123) of tenant acme
control plane: https://control.example:8443
ports:         agent 7443, engine 7400, on fd77:1:2:3::2
certificate:   good for 7 days
tunnel:        daalu up (wireguard-go, process 43), hub hub.example:51820, handshake 8 s ago, \
2.0 MiB received, 90 bytes sent
card 0:        RTX 2000 Ada: 61 °C, (unsupported) % busy, 1024 of 16384 MiB memory, (error: Unknown Error)
engine:        ready, m-8b as m, 3 calls running, 1 waiting
last contact:  the control plane was here 2 s ago
fault:         something is odd
"""
    )


def test_a_silent_control_plane_an_expired_certificate_and_a_missing_handshake_are_said() -> None:
    link = LinkStatus("does not hear the hub (kernel WireGuard)", "fd77::2", "daalu", "h:1", 0, 0, 148)
    words = describe(
        replace(
            FULL,
            link=link,
            certificate_expires=NOW - dt.timedelta(hours=3),
            last_contact=NOW - dt.timedelta(minutes=5),
        )
    )
    assert "no handshake yet" in words
    assert "expired 3 h ago; a self-signed one" in words
    assert "5 min ago: it should be every few seconds" in words


def test_a_lost_card_and_a_missing_driver_are_said() -> None:
    assert "LOST (GPU is lost)" in describe(
        replace(FULL, samples=(agent_pb2.CardSample(uuid="GPU-1", lost="GPU is lost"),))
    )
    system = agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, detail="install it")
    assert "cards:         no driver (install it)" in describe(replace(FULL, card_system=system, cards=()))


def test_a_simulated_card_is_always_labelled() -> None:
    card = agent_pb2.Card(uuid="x", name=agent_pb2.TextReading(value="RTX"), simulated=True)
    assert "simulated: RTX" in describe(replace(FULL, cards=(card,), samples=()))


@pytest.mark.parametrize("phase", [number for number in agent_pb2.EnginePhase.values() if number])
def test_every_phase_has_words(phase: agent_pb2.EnginePhase.ValueType) -> None:
    assert "unknown" not in describe(replace(FULL, engine=agent_pb2.EngineSample(phase=phase)))
