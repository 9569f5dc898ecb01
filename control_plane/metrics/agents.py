"""The fleet's metrics: agents, their engines, and their cards by DCGM's names. Pure.

A reading that is not supported, or failed, has no series. An agent that is silent has no readings at all,
since its last ones are not what is.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from control_plane.fleet import AgentStatus, AgentView, Liveness
from control_plane.fleet.telemetry import throttle_words

_MIB = 1024**2
MAX_CARDS = 64
# An agent's own words become labels.
MAX_LABEL_CHARACTERS = 96


@dataclass(frozen=True, slots=True)
class _Gauge:
    """`reading` of the wire's CardSample, divided by `divisor`."""

    name: str
    help: str
    reading: str
    divisor: float = 1.0


# Where ours is not the same thing as DCGM's, it has a name of ours: the graphics clock is not the SM clock,
# and pages and rows are counted together here.
CARD_GAUGES = (
    _Gauge("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", "temperature_celsius"),
    _Gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", "utilisation_percent"),
    _Gauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", "memory_used_bytes", _MIB),
    _Gauge("DCGM_FI_DEV_FB_TOTAL", "Framebuffer memory (in MiB).", "memory_total_bytes", _MIB),
    _Gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", "power_watts"),
    _Gauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz).", "clock_memory_mhz"),
    _Gauge("DCGM_FI_DEV_FAN_SPEED", "Fan speed (in %).", "fan_percent"),
    _Gauge("DCGM_FI_DEV_PCIE_LINK_GEN", "PCIe link generation.", "pcie_generation"),
    _Gauge("DCGM_FI_DEV_PCIE_LINK_WIDTH", "PCIe link width (in lanes).", "pcie_width_lanes"),
    _Gauge(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "Corrected memory errors since the driver was loaded.",
        "ecc_corrected_count",
    ),
    _Gauge(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Memory errors that could not be corrected since the driver was loaded.",
        "ecc_uncorrected_count",
    ),
    _Gauge("daalu_card_graphics_clock_mhz", "Graphics clock frequency (in MHz).", "clock_graphics_mhz"),
    _Gauge("daalu_card_retired_pages", "Pages of its memory that are retired.", "retired_pages_count"),
    _Gauge("daalu_card_remapped_rows", "Rows of its memory that are remapped.", "remapped_rows_count"),
)
_AGENT = ["tenant", "agent", "agent_id"]
# As dcgm-exporter has them, and then ours.
_CARD = ["gpu", "UUID", "modelName", "Hostname", *_AGENT, "simulated"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One agent as the fleet has it now."""

    view: AgentView
    status: AgentStatus
    tenant: str

    @property
    def labels(self) -> list[str]:
        return [self.tenant, self.view.name, self.view.agent_id]

    @property
    def sample(self) -> agent_pb2.TelemetrySample | None:
        """What it says now; None: it says nothing now."""
        is_heard = self.status.liveness in (Liveness.LIVE, Liveness.SUSPECT)
        return self.status.sample if is_heard else None


def collect_agents(seen: list[Seen]) -> Iterator[Metric]:
    yield from _counts(seen)
    yield from _agents(seen)
    yield from _engines(seen)
    yield from _cards(seen)


def _counts(seen: list[Seen]) -> Iterator[Metric]:
    liveness = GaugeMetricFamily("daalu_agents", "Agents, by liveness.", labels=["tenant", "liveness"])
    for (tenant, state), count in Counter((each.tenant, each.status.liveness) for each in seen).items():
        liveness.add_metric([tenant, state], count)
    health = GaugeMetricFamily(
        "daalu_agents_by_health", "Agents, by the health of their worst card.", labels=["tenant", "health"]
    )
    for (tenant, worst), count in Counter((each.tenant, each.status.health.health) for each in seen).items():
        health.add_metric([tenant, worst], count)
    yield from (liveness, health)


def _agents(seen: list[Seen]) -> Iterator[Metric]:
    up = GaugeMetricFamily("daalu_agent_up", "1 while the agent is routed to.", labels=_AGENT)
    heard = GaugeMetricFamily(
        "daalu_agent_last_sample_timestamp_seconds", "When its last sample came.", labels=_AGENT
    )
    expires = GaugeMetricFamily(
        "daalu_agent_certificate_expiry_timestamp_seconds", "When its certificate ends.", labels=_AGENT
    )
    for each in seen:
        up.add_metric(each.labels, float(each.sample is not None))
        if each.status.heard_unix_ms is not None:
            heard.add_metric(each.labels, each.status.heard_unix_ms / 1000)
        expires.add_metric(each.labels, each.status.certificate_expires_unix_ms / 1000)
    yield from (up, heard, expires)


def _engines(seen: list[Seen]) -> Iterator[Metric]:
    labels = [*_AGENT, "model"]
    ready = GaugeMetricFamily("daalu_engine_ready", "1 while the engine takes calls.", labels=labels)
    running = GaugeMetricFamily(
        "daalu_engine_running_calls", "Calls that the engine works on.", labels=labels
    )
    waiting = GaugeMetricFamily("daalu_engine_waiting_calls", "Calls in the engine's queue.", labels=labels)
    cache = GaugeMetricFamily(
        "daalu_engine_kv_cache_percent", "Share of the KV cache in use (in %).", labels=labels
    )
    restarts = GaugeMetricFamily(
        "daalu_engine_restarts", "Restarts of the engine since the daemon started.", labels=labels
    )
    for each in seen:
        if each.sample is None or each.view.engine is None:
            continue
        engine, said = each.view.engine, each.sample.engine
        values = [*each.labels, engine.model_id[:MAX_LABEL_CHARACTERS]]
        ready.add_metric(values, float(engine.ready))
        restarts.add_metric(values, said.restarts_count)
        if engine.ready or engine.draining:
            running.add_metric(values, engine.running_calls)
            waiting.add_metric(values, engine.waiting_calls)
            if said.kv_cache_percent.WhichOneof("reading") == "value":
                cache.add_metric(values, said.kv_cache_percent.value)
    yield from (ready, running, waiting, cache, restarts)


def _cards(seen: list[Seen]) -> Iterator[Metric]:
    gauges = [GaugeMetricFamily(gauge.name, gauge.help, labels=_CARD) for gauge in CARD_GAUGES]
    health = GaugeMetricFamily(
        "daalu_card_health", "1 for the present health of the card.", labels=[*_CARD, "health"]
    )
    lost = GaugeMetricFamily("daalu_card_lost", "1 where the driver has lost the card.", labels=_CARD)
    slowed = GaugeMetricFamily(
        "daalu_card_throttled", "1 for each reason that holds its clock down.", labels=[*_CARD, "reason"]
    )
    for each in seen:
        for card, labels in _labelled(each):
            for gauge, family in zip(CARD_GAUGES, gauges, strict=True):
                reading: agent_pb2.Reading = getattr(card, gauge.reading)
                if reading.WhichOneof("reading") == "value":
                    family.add_metric(labels, reading.value / gauge.divisor)
            health.add_metric([*labels, each.status.health.of_card(card.uuid)], 1)
            lost.add_metric(labels, float(bool(card.lost)))
            for reason in throttle_words(card):
                slowed.add_metric([*labels, reason], 1)
    yield from (*gauges, health, lost, slowed)


def _labelled(seen: Seen) -> Iterator[tuple[agent_pb2.CardSample, list[str]]]:
    """Each card once, whatever the agent says."""
    if seen.sample is None:
        return
    inventory = seen.status.inventory
    names = {card.uuid: card.name.value for card in (inventory.cards if inventory else ())}
    host = inventory.host_name[:MAX_LABEL_CHARACTERS] if inventory else ""
    cards = {(card.index, card.uuid): card for card in seen.sample.cards[:MAX_CARDS]}
    for (index, uuid), card in cards.items():
        known = [str(index), uuid[:MAX_LABEL_CHARACTERS], names.get(uuid, "")[:MAX_LABEL_CHARACTERS], host]
        yield card, [*known, *seen.labels, "true" if card.simulated else "false"]
