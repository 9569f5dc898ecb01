"""This process's own metrics: for operators alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What waits in this process, and what it had to let go."""

    store_writes_waiting: int
    unwritten_calls: int
    telemetry_samples_waiting: int
    telemetry_samples_dropped: int


def collect_process(figures: ProcessFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "daalu_store_writes_waiting",
        "Units that wait for the store's writer.",
        value=figures.store_writes_waiting,
    )
    yield GaugeMetricFamily(
        "daalu_unwritten_calls",
        "Calls whose record the store has not taken yet.",
        value=figures.unwritten_calls,
    )
    yield GaugeMetricFamily(
        "daalu_telemetry_samples_waiting",
        "Samples that wait for telemetry's file.",
        value=figures.telemetry_samples_waiting,
    )
    yield CounterMetricFamily(
        "daalu_telemetry_samples_dropped",
        "Samples that were never written.",
        value=figures.telemetry_samples_dropped,
    )
