"""Telemetry of every agent arrives every five seconds or better, and says what is simulated."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.support.nvml.stub import Stub
from tests.support.product import AgentOptions
from tests.support.programs import eventually
from tests.support.system import Site

# NVML's return codes.
DRIVER_NOT_LOADED, GPU_IS_LOST = 9, 15
SHOWN_TIMEOUT_S = 20.0
PROMISED_GAP_MS = 5_000
WATCHED_S = 12.0
LOOK_S = 0.5


def test_each_agent_is_heard_every_five_seconds_or_better(world: World) -> None:
    names = [site.agent.name for site in (world.owner, world.neighbour)]
    heard: dict[str, list[int]] = {name: [] for name in names}
    deadline = time.monotonic() + WATCHED_S
    while time.monotonic() < deadline:
        for name in names:
            at = world.system.control.agent(name)["heard_unix_ms"]
            if at not in heard[name][-1:]:
                heard[name].append(at)
        time.sleep(LOOK_S)
    for name in names:
        gaps = [later - earlier for earlier, later in zip(heard[name], heard[name][1:], strict=False)]
        assert gaps, f"{name} was heard at most once in {WATCHED_S} s"
        assert max(gaps) <= PROMISED_GAP_MS, name


def test_a_simulated_card_is_labelled_as_such_and_its_readings_have_units(world: World) -> None:
    agent = world.system.control.agent(world.owner.agent.name)
    assert agent["simulated"] is True
    assert agent["card_system"]["state"] == "simulated"
    (card,) = agent["cards"]
    assert card["simulated"] is True
    reading = card["readings"]["temperature_celsius"]
    assert (reading["state"], reading["unit"]) == ("ok", "celsius")
    assert 0 < reading["value"] < 120


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path)


@pytest.fixture
def carded(world: World, stub: Stub) -> Iterator[Site]:
    """A customer whose daemon reads two cards through the stub, once that is installed."""
    environment = {
        name: stub.environment()[name] for name in ("LD_LIBRARY_PATH", "NVML_STUB", "NVML_STUB_LOG")
    }
    site = world.system.new_site(
        f"epsilon-{len(world.system.sites)}", AgentOptions(simulated_card=None, environment=environment)
    )
    stub.behave({"count": 2})
    yield site
    world.system.control.revoke(site.agent.name)
    site.agent.stop()


def _shown(world: World, site: Site, what: str, condition: Callable[[Any], bool]) -> Any:
    """The agent as the control plane shows it, as soon as the condition holds."""

    def look() -> Any:
        agent = world.system.control.agent(site.agent.name)
        return agent if agent["card_system"] and condition(agent) else None

    return eventually(look, what, timeout_s=SHOWN_TIMEOUT_S)


def test_a_lost_card_shows_as_lost_and_the_others_go_on(world: World, stub: Stub, carded: Site) -> None:
    stub.install()
    world.system.join(carded, "neighbour")
    agent = _shown(world, carded, "both cards are read", lambda agent: len(agent["cards"]) == 2)
    assert agent["card_system"]["state"] == "ok"
    assert agent["simulated"] is False
    stub.behave({"count": 2, "every.0": GPU_IS_LOST})
    agent = _shown(world, carded, "a card is lost", lambda agent: agent["cards"][0]["lost"])
    assert agent["cards"][0]["readings"]["temperature_celsius"]["state"] == "error"
    assert agent["cards"][1]["lost"] is None
    assert agent["cards"][1]["readings"]["temperature_celsius"]["state"] == "ok"


def test_a_call_that_the_driver_lacks_shows_as_unsupported_and_not_as_0(
    world: World, stub: Stub, carded: Site
) -> None:
    stub.install("WITHOUT_NEWER_CALLS", "WITHOUT_THROTTLE")
    world.system.join(carded, "neighbour")
    agent = _shown(world, carded, "the cards are read", lambda agent: len(agent["cards"]) == 2)
    readings = agent["cards"][0]["readings"]
    assert readings["throttle"]["state"] == "unsupported"
    assert readings["throttle"]["value"] is None
    assert readings["power_watts"]["state"] == "ok"


def test_a_missing_driver_shows_as_such_with_what_to_do(world: World, stub: Stub, carded: Site) -> None:
    # Nothing is installed: the library is not there.
    world.system.join(carded, "neighbour")
    agent = _shown(world, carded, "no driver", lambda agent: agent["card_system"]["state"] == "no_driver")
    assert "install the NVIDIA driver" in agent["card_system"]["detail"]
    assert agent["cards"] == []
    stub.install()
    stub.behave({"count": 2, "nvmlInitWithFlags": DRIVER_NOT_LOADED})
    _shown(world, carded, "not loaded", lambda agent: "modprobe" in agent["card_system"]["detail"])
    stub.behave({"count": 2})
    _shown(world, carded, "it recovers", lambda agent: agent["card_system"]["state"] == "ok")
