"""Everything that one reader may see, as the text that Prometheus reads."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from control_plane.fleet import AgentStatus, AgentView, FleetView
from control_plane.identifiers import AgentId, TenantId
from control_plane.metrics.agents import Seen, gauges_of_agents
from control_plane.metrics.gauges import text_of
from control_plane.metrics.meters import CallMeters
from control_plane.metrics.process import ProcessFigures, collect_process
from control_plane.metrics.scope import Scope


class Fleet(Protocol):
    """What is looked at of the fleet."""

    @property
    def view(self) -> FleetView: ...

    def status(self, agent_id: AgentId) -> AgentStatus | None: ...


@dataclass(frozen=True, slots=True)
class MetricsParts:
    """Where metrics come from; built by the composition root."""

    fleet: Fleet
    calls: CallMeters
    figures: Callable[[], ProcessFigures]


@dataclass(frozen=True, slots=True)
class Looked:
    """What one reader may see, as of one moment."""

    scope: Scope
    seen: list[Seen]
    calls: CallMeters
    tenants: Mapping[TenantId, str]
    # None: not this reader's.
    figures: ProcessFigures | None


def look(parts: MetricsParts, scope: Scope, tenants: Mapping[TenantId, str]) -> Looked:
    """For the event loop, which the fleet lives on. `tenants`: their names."""
    view = parts.fleet.view
    agents: Iterable[AgentView] = (
        view.by_id.values() if scope.tenant_id is None else view.by_tenant.get(scope.tenant_id, ())
    )
    statuses = ((agent, parts.fleet.status(agent.agent_id)) for agent in agents)
    seen = [
        Seen(agent, status, tenants.get(agent.tenant_id, agent.tenant_id))
        for agent, status in statuses
        if status is not None
    ]
    figures = parts.figures() if scope.is_operators else None
    return Looked(scope, seen, parts.calls, tenants, figures)


def render(looked: Looked, accept: str) -> tuple[bytes, str]:
    """The text and its content type, which follows from what the reader accepts. May run in any thread."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(_metrics(looked))))
    # The library's part last: in OpenMetrics it ends with the mark that ends the whole.
    return text_of(gauges_of_agents(looked.seen)) + encode(registry), content_type


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metrics(looked: Looked) -> Iterator[Metric]:
    yield from looked.calls.collect(looked.scope, looked.tenants)
    if looked.figures is not None:
        yield from collect_process(looked.figures)
        yield from ProcessCollector(registry=None).collect()
