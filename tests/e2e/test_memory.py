"""What the programs hold in memory, with ten agents."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import World
from tests.support.product import AgentOptions
from tests.support.programs import resident_bytes
from tests.support.system import Site

AGENTS = 10
AGENT_LIMIT_BYTES = 80_000_000
CONTROL_PLANE_LIMIT_BYTES = 200_000_000


@pytest.fixture
def ten(world: World) -> Iterator[list[Site]]:
    """The two that are there and eight more, all heard of."""
    more = [world.system.new_site(f"delta-{number}", AgentOptions()) for number in range(AGENTS - 2)]
    for site in more:
        world.system.join(site, "neighbour")
    yield [world.owner, world.neighbour, *more]
    for site in more:
        world.system.control.revoke(site.agent.name)
        site.agent.stop()


def test_the_daemons_and_the_control_plane_stay_within_their_limits(world: World, ten: list[Site]) -> None:
    for site in ten:
        world.system.wait_for_liveness(site, "live")
    daemons = {site.agent.name: site.agent.daemon.resident_bytes() for site in ten}
    assert {name: size for name, size in daemons.items() if size >= AGENT_LIMIT_BYTES} == {}
    assert resident_bytes(world.system.control.serve.pid) < CONTROL_PLANE_LIMIT_BYTES
    assert resident_bytes(world.system.control.hub.pid) < CONTROL_PLANE_LIMIT_BYTES
