"""Which levels of diagnostics a host is offered, and when its cards may be stressed."""

import pytest
from daalu_wire.v1 import agent_pb2

from agent.diagnostics.levels import DiagnosticsRefused, check_level, check_use

OK = agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK)
STOPPED = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_STOPPED)


def _cards(*names: str) -> list[agent_pb2.Card]:
    return [
        agent_pb2.Card(index=index, name=agent_pb2.TextReading(value=name))
        for index, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Tesla T4",
        "Tesla V100-SXM2-16GB",
        "NVIDIA A10",
        "NVIDIA A10G",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA A100 80GB PCIe",
        "NVIDIA L4",
        "NVIDIA L40S",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA H200",
        "NVIDIA GH200 480GB",
        "NVIDIA B200",
        "NVIDIA GB200",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    ],
)
def test_a_data_centre_card_is_offered_every_level(name: str) -> None:
    for level in (1, 2, 3):
        check_level(level, OK, _cards(name), "/usr/bin/dcgmi")


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090",
        "NVIDIA RTX 2000 Ada Generation",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA RTX A6000",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA T400 4GB",
        "NVIDIA TITAN RTX",
        "Quadro RTX 8000",
        "",
    ],
)
def test_any_other_card_is_offered_level_1_alone(name: str) -> None:
    check_level(1, OK, _cards("NVIDIA H100 80GB HBM3", name), "/usr/bin/dcgmi")
    for level in (2, 3):
        with pytest.raises(DiagnosticsRefused, match=r"card 1 .* supports level 1 only"):
            check_level(level, OK, _cards("NVIDIA H100 80GB HBM3", name), "/usr/bin/dcgmi")


def test_a_host_without_the_tool_is_told_what_to_install() -> None:
    with pytest.raises(DiagnosticsRefused, match=r"install NVIDIA's DCGM .* start its service nvidia-dcgm"):
        check_level(1, OK, _cards("NVIDIA A10"), None)


@pytest.mark.parametrize(
    ("system", "cards", "words"),
    [
        (
            agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_SIMULATED),
            _cards("NVIDIA A10"),
            "simulated",
        ),
        (OK, [agent_pb2.Card(simulated=True)], "simulated"),
        (OK, [], "no card was found"),
        (
            agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, detail="install the driver"),
            [],
            "install the driver",
        ),
    ],
)
def test_without_a_real_card_there_is_nothing_to_test(
    system: agent_pb2.CardSystem, cards: list[agent_pb2.Card], words: str
) -> None:
    with pytest.raises(DiagnosticsRefused, match=words):
        check_level(1, system, cards, "/usr/bin/dcgmi")


def test_a_stressful_level_wants_an_acknowledgement_and_no_engine() -> None:
    check_use(1, agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_READY), acknowledged=False)
    check_use(2, STOPPED, acknowledged=True)
    with pytest.raises(DiagnosticsRefused, match="wants an acknowledgement"):
        check_use(2, STOPPED, acknowledged=False)
    for phase in agent_pb2.EnginePhase.values():
        if phase != agent_pb2.ENGINE_PHASE_STOPPED:
            with pytest.raises(DiagnosticsRefused, match="an engine is on them"):
                check_use(3, agent_pb2.EngineSample(phase=phase), acknowledged=True)
