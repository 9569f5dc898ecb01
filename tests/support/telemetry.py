"""Samples for the recorder, and what it makes of them."""

import random
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import AgentFacts, Desired
from control_plane.fleet.telemetry import History, Limits, Recorder, Wanted, read_history
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.tables import Connection

TENANT = TenantId("ten-1")
AGENT = AgentId("agt-1")
CARD = "GPU-1"
Reading = agent_pb2.Reading


def agent_facts(agent_id: str = AGENT, tenant_id: str = TENANT) -> AgentFacts:
    return AgentFacts(
        agent_id=AgentId(agent_id),
        tenant_id=TenantId(tenant_id),
        name="host",
        connection=Connection.TUNNEL,
        host="fd00::2",
        rpc_port=7443,
        engine_port=7400,
        tls_key_sha256=b"",
        certificate_pem="",
        certificate_expires_unix_ms=0,
        ticket_key_generation=1,
        desired=Desired(None, 0),
    )


def card_sample(uuid: str = CARD, **readings: float | Reading) -> agent_pb2.CardSample:
    """Numbers are values of readings."""
    card = agent_pb2.CardSample(uuid=uuid)
    for name, reading in readings.items():
        getattr(card, name).CopyFrom(reading if isinstance(reading, Reading) else Reading(value=reading))
    return card


def sample(
    *cards: agent_pb2.CardSample, engine: agent_pb2.EngineSample | None = None
) -> agent_pb2.TelemetrySample:
    return agent_pb2.TelemetrySample(cards=cards, engine=engine)


def sample_at_work(uuid: str, at_unix_ms: int, chance: random.Random) -> agent_pb2.TelemetrySample:
    """A card at work: its integer readings have no digits, and what is steady stays."""
    busy = chance.randint(20, 95)
    card = agent_pb2.CardSample(index=0, uuid=uuid)
    card.temperature_celsius.value = 55 + busy // 8
    card.utilisation_percent.value = busy
    card.memory_used_bytes.value = 15_300_000_000
    card.memory_total_bytes.value = 17_171_480_576
    card.power_watts.value = round(20 + busy * 0.5 + chance.random(), 1)
    card.clock_graphics_mhz.value = 1_800 + 15 * chance.randint(0, 12)
    card.clock_memory_mhz.value = 8_001
    card.fan_percent.value = 40
    card.throttle.value.SetInParent()
    card.ecc_uncorrected_count.value = 0
    engine = agent_pb2.EngineSample(
        phase=agent_pb2.ENGINE_PHASE_READY, running_calls=chance.randint(0, 16), max_running_calls=16
    )
    engine.kv_cache_percent.value = round(chance.random() * 90, 1)
    return agent_pb2.TelemetrySample(
        sampled_unix_ms=at_unix_ms,
        card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK),
        cards=[card],
        engine=engine,
    )


def record(
    path: Path,
    *heard: tuple[int, agent_pb2.TelemetrySample],
    facts: AgentFacts | None = None,
    limits: Limits | None = None,
) -> None:
    """A recorder's whole life: these samples with the times when they came, and its end."""
    recorder = Recorder(path, limits)
    for at_unix_ms, each in heard:
        recorder.sampled(facts or agent_facts(), each, at_unix_ms)
    recorder.close()


def history(
    path: Path,
    from_unix_ms: int,
    to_unix_ms: int,
    most_points: int = 1_000,
    *,
    tenant_id: TenantId = TENANT,
    agent_id: AgentId = AGENT,
) -> History:
    return read_history(path, Wanted(tenant_id, agent_id, from_unix_ms, to_unix_ms, most_points))
