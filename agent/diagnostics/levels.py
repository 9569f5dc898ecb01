"""The levels of diagnostics, and which of them a host can run. Pure.

Level 0 is built in. Levels 1 to 3 are NVIDIA's own, run by its tool `dcgmi`.
"""

import re
from collections.abc import Sequence

from daalu_wire.v1 import agent_pb2

MAX_LEVEL = 3
# From this one on the cards are stressed, and want to be free.
FIRST_STRESSFUL = 2
# NVIDIA speaks of seconds, about two minutes, and about fifteen.
LIMIT_S = {1: 300.0, 2: 900.0, 3: 3_600.0}

INSTALL = (
    "dcgmi is not installed on this host: install NVIDIA's DCGM (the package datacenter-gpu-manager-4-cuda12"
    " or -cuda13, as the driver is; datacenter-gpu-manager before DCGM 4) and start its service nvidia-dcgm"
)
# Data-centre cards by NVML's name: Tesla T4, NVIDIA A100-SXM4-40GB, NVIDIA L40S, NVIDIA GH200 480GB, NVIDIA
# RTX PRO 6000 Blackwell Server Edition. NVIDIA supports levels from 2 on for these alone: not for GeForce,
# Quadro and its successors (RTX A6000, RTX 6000 Ada Generation), or Titan.
_DATA_CENTRE = re.compile(
    r"^(?:NVIDIA )?"
    r"(?:Tesla |(?:A|H|L|B)\d{1,3}[A-Z]?\b|T4\b|G[HB]\d{3}\b|RTX PRO \d+ .*Server Edition)"
)


class DiagnosticsRefused(Exception):
    """This cannot be run here now; the message says why and what to do. Nothing was done."""


def is_stressful(level: int) -> bool:
    return level >= FIRST_STRESSFUL


def check_level(
    level: int, system: agent_pb2.CardSystem, cards: Sequence[agent_pb2.Card], dcgmi: str | None
) -> None:
    """Whether dcgmi can run this level, from 1 on. Raises DiagnosticsRefused."""
    if system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED or any(card.simulated for card in cards):
        raise DiagnosticsRefused("the card is simulated: there is nothing that dcgmi could test")
    if system.state != agent_pb2.CARD_SYSTEM_STATE_OK or not cards:
        reason = system.detail or "no card was found"
        raise DiagnosticsRefused(f"there is no card that dcgmi could test: {reason}")
    if dcgmi is None:
        raise DiagnosticsRefused(INSTALL)
    if is_stressful(level):
        for card in cards:
            if not _DATA_CENTRE.match(card.name.value):
                raise DiagnosticsRefused(
                    f"card {card.index} ({card.name.value or 'of unknown name'}) supports level 1 only:"
                    " NVIDIA's further levels are for its data-centre cards"
                )


def check_use(level: int, engine: agent_pb2.EngineSample, *, acknowledged: bool) -> None:
    """Whether the cards may be stressed now. Raises DiagnosticsRefused."""
    if not is_stressful(level):
        return
    if not acknowledged:
        raise DiagnosticsRefused(
            f"level {level} stresses the cards and takes them from their calls: it wants an acknowledgement"
        )
    if engine.phase != agent_pb2.ENGINE_PHASE_STOPPED:
        raise DiagnosticsRefused(
            f"level {level} wants the cards free, and an engine is on them: drain the agent and deploy no"
            " model"
        )
