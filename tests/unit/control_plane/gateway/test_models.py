"""What a tenant can reach now."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.economy import EconomyIndex
from control_plane.fleet import FleetView, Liveness
from control_plane.gateway.models import model_objects, reachable_models
from control_plane.identifiers import TenantId
from control_plane.store import Store
from control_plane.vendors import Vendors
from tests.support.gateway import OTHER_TENANT, TENANT, agent_view, engine_view, fill, fleet_view
from tests.support.market import CONSUMER, open_market, operators_card, providers_card


@pytest.fixture
def economy(tmp_path: Path) -> Iterator[EconomyIndex]:
    """In which nothing is shared."""
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    yield EconomyIndex(store)
    store.close()


def models(fleet: FleetView, economy: EconomyIndex, tenant: TenantId = TENANT) -> dict[str, int]:
    return reachable_models(fleet, economy, Vendors(), frozenset(), tenant, 7)


def test_each_model_is_listed_once_with_its_largest_context(economy: EconomyIndex) -> None:
    small = agent_view("a", engine=engine_view(context_tokens=2048))
    [model] = model_objects(models(fleet_view(small, agent_view("b")), economy), 7)
    assert model == {
        "id": "tiny",
        "object": "model",
        "created": 7,
        "owned_by": "daalu",
        "max_model_len": 8192,
    }


def test_what_cannot_be_reached_is_not_listed(economy: EconomyIndex) -> None:
    fleet = fleet_view(
        agent_view("out", liveness=Liveness.OUT),
        agent_view("none", engine=None),
        agent_view("loading", engine=engine_view(ready=False)),
        agent_view("draining", engine=engine_view(draining=True)),
        agent_view("theirs", tenant_id=OTHER_TENANT),
    )
    assert models(fleet, economy) == {}


async def test_what_a_pool_serves_is_listed_to_who_may_use_it(tmp_path: Path) -> None:
    hosted = operators_card(1, engine=engine_view(context_tokens=4096))
    # Not countable here, so no third party's card serves it.
    lent = providers_card(2)
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    try:
        fill(store, (hosted, lent))
        open_market(store, (hosted, lent))
        economy = EconomyIndex(store)
        await economy.refresh()
        fleet = fleet_view(hosted, lent)
        assert models(fleet, economy, CONSUMER) == {"tiny": 4096}
        assert models(fleet_view(lent), economy, CONSUMER) == {}
        assert models(fleet_view(hosted), economy, TenantId("ten-stranger")) == {}
    finally:
        store.close()
