"""A made-up card is believable, and never passes for a real one."""

import itertools

import pytest
from daalu_wire.v1 import agent_pb2

from agent.cards import SimulatedReader
from agent.cards.simulated import slow_wave

GIB = 1024**3


async def test_a_simulated_card_says_so_everywhere() -> None:
    reader = SimulatedReader()
    system, cards = await reader.inventory()
    sampled_system, samples = await reader.sample()
    assert system.state == sampled_system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED
    assert "simulated" in system.detail
    assert cards[0].simulated
    assert samples[0].simulated
    assert cards[0].name.value == "Simulated RTX 2000 Ada 16 GB"
    assert cards[0].uuid == samples[0].uuid
    assert "simulated" in cards[0].uuid


async def test_every_reading_of_a_simulated_card_is_set() -> None:
    _, cards = await SimulatedReader().inventory()
    _, samples = await SimulatedReader().sample()
    for message in (cards[0], samples[0]):
        for field in message.DESCRIPTOR.fields:
            if field.message_type is not None:
                assert getattr(message, field.name).WhichOneof("reading") in ("value", "unsupported"), (
                    field.name
                )


async def test_load_moves_what_load_moves_within_what_the_card_can_do() -> None:
    async def at(load: float) -> agent_pb2.CardSample:
        return (await SimulatedReader(load=lambda _: load).sample())[1][0]

    idle, busy = await at(0.0), await at(1.0)
    assert idle.temperature_celsius.value < busy.temperature_celsius.value < 85
    assert idle.power_watts.value < busy.power_watts.value <= 70
    assert (idle.utilisation_percent.value, busy.utilisation_percent.value) == (0, 100)
    assert busy.memory_used_bytes.value < busy.memory_total_bytes.value == 16 * GIB
    assert list(idle.throttle.value.reasons) == [agent_pb2.THROTTLE_REASON_IDLE]
    assert not busy.throttle.value.reasons
    assert (await at(7.0)).utilisation_percent.value == 100


def test_the_slow_wave_is_a_load() -> None:
    loads = [slow_wave(float(second)) for second in range(3_600)]
    assert min(loads) >= 0
    assert max(loads) <= 1
    assert max(abs(later - earlier) for earlier, later in itertools.pairwise(loads)) < 0.02


@pytest.mark.parametrize(
    ("name", "memory_gib"), [("RTX 6000 Ada", 48), ("RTX 2000 Ada", 16), ("Some card 24 GB", 24)]
)
async def test_the_name_decides_the_memory(name: str, memory_gib: int) -> None:
    _, cards = await SimulatedReader(name).inventory()
    assert cards[0].name.value == f"Simulated {name}"
    assert cards[0].memory_total_bytes.value == memory_gib * GIB


async def test_hosts_have_cards_of_their_own() -> None:
    uuids = {(await SimulatedReader(seed=seed).inventory())[1][0].uuid for seed in ("a", "b", "a")}
    assert len(uuids) == 2
