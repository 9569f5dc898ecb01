"""The fleet's metrics: agents, their engines, and their cards by DCGM's names. Pure.

A reading that is not supported, or failed, has no series. An agent that is silent has no readings at all,
since its last ones are not what is.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from control_plane.fleet import AgentStatus, AgentView, Liveness
from control_plane.fleet.telemetry import throttle_words
from control_plane.metrics.gauges import Gauge, also_labelled, labelled

_MIB = 1024**2
MAX_CARDS = 64
# An agent's own words become labels.
MAX_LABEL_CHARACTERS = 96


@dataclass(frozen=True, slots=True)
class _Shown:
    """`reading` of the wire's CardSample, divided by `divisor`."""

    name: str
    help: str
    reading: str
    divisor: float = 1.0


# Where ours is not the same thing as DCGM's, it has a name of ours: the graphics clock is not the SM clock,
# and pages and rows are counted together here.
CARD_GAUGES = (
    _Shown("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", "temperature_celsius"),
    _Shown("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", "utilisation_percent"),
    _Shown("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", "memory_used_bytes", _MIB),
    _Shown("DCGM_FI_DEV_FB_TOTAL", "Framebuffer memory (in MiB).", "memory_total_bytes", _MIB),
    _Shown("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", "power_watts"),
    _Shown("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz).", "clock_memory_mhz"),
    _Shown("DCGM_FI_DEV_FAN_SPEED", "Fan speed (in %).", "fan_percent"),
    _Shown("DCGM_FI_DEV_PCIE_LINK_GEN", "PCIe link generation.", "pcie_generation"),
    _Shown("DCGM_FI_DEV_PCIE_LINK_WIDTH", "PCIe link width (in lanes).", "pcie_width_lanes"),
    _Shown(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "Corrected memory errors since the driver was loaded.",
        "ecc_corrected_count",
    ),
    _Shown(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Memory errors that could not be corrected since the driver was loaded.",
        "ecc_uncorrected_count",
    ),
    _Shown("daalu_card_graphics_clock_mhz", "Graphics clock frequency (in MHz).", "clock_graphics_mhz"),
    _Shown("daalu_card_retired_pages", "Pages of its memory that are retired.", "retired_pages_count"),
    _Shown("daalu_card_remapped_rows", "Rows of its memory that are remapped.", "remapped_rows_count"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One agent as the fleet has it now."""

    view: AgentView
    status: AgentStatus
    tenant: str

    @property
    def labels(self) -> dict[str, str]:
        return {"tenant": self.tenant, "agent": self.view.name, "agent_id": self.view.agent_id}

    @property
    def sample(self) -> agent_pb2.TelemetrySample | None:
        """What it says now; None: it says nothing now."""
        is_heard = self.status.liveness in (Liveness.LIVE, Liveness.SUSPECT)
        return self.status.sample if is_heard else None


def gauges_of_agents(seen: list[Seen]) -> Iterator[Gauge]:
    yield from _counts(seen)
    yield from _agents(seen)
    yield from _engines(seen)
    yield from _cards(seen)


def _counts(seen: list[Seen]) -> Iterator[Gauge]:
    liveness = Gauge("daalu_agents", "Agents, by liveness.")
    for (tenant, state), count in Counter((each.tenant, each.status.liveness) for each in seen).items():
        liveness.add(labelled({"tenant": tenant, "liveness": state}), count)
    health = Gauge("daalu_agents_by_health", "Agents, by the health of their worst card.")
    for (tenant, worst), count in Counter((each.tenant, each.status.health.health) for each in seen).items():
        health.add(labelled({"tenant": tenant, "health": worst}), count)
    yield from (liveness, health)


def _agents(seen: list[Seen]) -> Iterator[Gauge]:
    up = Gauge("daalu_agent_up", "1 while the agent is routed to.")
    heard = Gauge("daalu_agent_last_sample_timestamp_seconds", "When its last sample came.")
    expires = Gauge("daalu_agent_certificate_expiry_timestamp_seconds", "When its certificate ends.")
    for each in seen:
        labels = labelled(each.labels)
        up.add(labels, each.sample is not None)
        if each.status.heard_unix_ms is not None:
            heard.add(labels, each.status.heard_unix_ms / 1000)
        expires.add(labels, each.status.certificate_expires_unix_ms / 1000)
    yield from (up, heard, expires)


def _engines(seen: list[Seen]) -> Iterator[Gauge]:
    ready = Gauge("daalu_engine_ready", "1 while the engine takes calls.")
    running = Gauge("daalu_engine_running_calls", "Calls that the engine works on.")
    waiting = Gauge("daalu_engine_waiting_calls", "Calls in the engine's queue.")
    cache = Gauge("daalu_engine_kv_cache_percent", "Share of the KV cache in use (in %).")
    restarts = Gauge("daalu_engine_restarts", "Restarts of the engine since the daemon started.")
    for each in seen:
        if each.sample is None or each.view.engine is None:
            continue
        engine, said = each.view.engine, each.sample.engine
        labels = labelled({**each.labels, "model": engine.model_id[:MAX_LABEL_CHARACTERS]})
        ready.add(labels, engine.ready)
        restarts.add(labels, said.restarts_count)
        if engine.ready or engine.draining:
            running.add(labels, engine.running_calls)
            waiting.add(labels, engine.waiting_calls)
            if said.kv_cache_percent.WhichOneof("reading") == "value":
                cache.add(labels, said.kv_cache_percent.value)
    yield from (ready, running, waiting, cache, restarts)


def _cards(seen: list[Seen]) -> Iterator[Gauge]:
    gauges = [Gauge(each.name, each.help) for each in CARD_GAUGES]
    health = Gauge("daalu_card_health", "1 for the present health of the card.")
    lost = Gauge("daalu_card_lost", "1 where the driver has lost the card.")
    slowed = Gauge("daalu_card_throttled", "1 for each reason that holds its clock down.")
    for each in seen:
        for card, of_card in _cards_of(each):
            labels = labelled(of_card)
            for shown, gauge in zip(CARD_GAUGES, gauges, strict=True):
                reading: agent_pb2.Reading = getattr(card, shown.reading)
                if reading.WhichOneof("reading") == "value":
                    gauge.add(labels, reading.value / shown.divisor)
            health.add(also_labelled(labels, "health", each.status.health.of_card(card.uuid)), 1)
            lost.add(labels, bool(card.lost))
            for reason in throttle_words(card):
                slowed.add(also_labelled(labels, "reason", reason), 1)
    yield from (*gauges, health, lost, slowed)


def _cards_of(seen: Seen) -> Iterator[tuple[agent_pb2.CardSample, dict[str, str]]]:
    """Each card once, whatever the agent says. Labels as dcgm-exporter has them, and then ours."""
    if seen.sample is None:
        return
    inventory = seen.status.inventory
    names = {card.uuid: card.name.value for card in (inventory.cards if inventory else ())}
    host = inventory.host_name[:MAX_LABEL_CHARACTERS] if inventory else ""
    cards = {(card.index, card.uuid): card for card in seen.sample.cards[:MAX_CARDS]}
    for (index, uuid), card in cards.items():
        yield (
            card,
            {
                "gpu": str(index),
                "UUID": uuid[:MAX_LABEL_CHARACTERS],
                "modelName": names.get(uuid, "")[:MAX_LABEL_CHARACTERS],
                "Hostname": host,
                **seen.labels,
                "simulated": "true" if card.simulated else "false",
            },
        )
