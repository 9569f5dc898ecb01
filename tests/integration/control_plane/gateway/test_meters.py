"""What the gateway tells its meters, as a scrape shows it."""

from prometheus_client.metrics_core import Metric

from control_plane.metrics import CallMeters
from control_plane.metrics.scope import Scope
from control_plane.store import Store
from tests.support.gateway import KEY, agent_view, serving
from tests.support.gateway_client import ASK, STREAM, post
from tests.support.gateway_engine import Exchange, scripted_engine


def shown(meters: CallMeters) -> dict[tuple[str, ...], float]:
    """Counters by their name and labels."""
    families: list[Metric] = list(meters.collect(Scope(None), {}))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_calls_tokens_failed_attempts_and_refusals_are_counted(sqlite_store: Store) -> None:
    async def breaks_off(exchange: Exchange) -> None:
        exchange.break_off()

    meters = CallMeters()
    async with (
        scripted_engine(breaks_off) as first,
        scripted_engine() as second,
        serving(
            sqlite_store, agent_view("a", first.port), agent_view("b", second.port), meters=meters
        ) as front,
    ):
        assert (await post(front, STREAM)).status_code == 200
        assert (await post(front, {**ASK, "model": "none"})).status_code == 404
        assert (await post(front, {**ASK, "messages": 7})).status_code == 400
        counted = shown(meters)
    assert counted["daalu_calls_total", "ten-a", "own", "complete"] == 1
    assert counted["daalu_calls_total", "ten-a", "none", "refused"] == 1
    assert counted["daalu_tokens_total", "ten-a", "own", "completion"] == 4
    assert counted["daalu_attempts_failed_total", "ten-a", "own", "connection_lost"] == 1
    assert counted["daalu_refusals_total", "ten-a", "model_not_found"] == 1
    assert counted["daalu_refusals_total", "", "invalid_value"] == 1
    assert counted["daalu_first_token_seconds_count", "ten-a", "own"] == 1
    assert KEY not in str(counted)
