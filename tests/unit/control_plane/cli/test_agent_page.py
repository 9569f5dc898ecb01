"""What `daalu agents show` prints of an agent."""

import re
from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.api.agent_schemas import AgentDetail
from control_plane.cli.agent_page import print_agent
from control_plane.fleet import AgentHealth, AgentStatus, Liveness
from control_plane.fleet.health import observe
from control_plane.fleet.telemetry import Reliability, Span
from control_plane.identifiers import AgentId
from control_plane.store.tables import Agent

Reading = agent_pb2.Reading


def _row() -> Agent:
    return Agent(
        id="agt-1",
        tenant_id="ten-1",
        name="box",
        connection="tunnel",
        tunnel_address="fd00::2",
        rpc_port=7443,
        engine_port=7400,
        wireguard_public_key="x",
        tls_key_sha256=b"x",
        certificate_pem="",
        certificate_expires_unix_ms=0,
        agent_version="0.1.0",
        created_unix_ms=0,
    )


def _status(**fields: Any) -> AgentStatus:
    values: dict[str, Any] = {
        "agent_id": AgentId("agt-1"),
        "liveness": Liveness.LIVE,
        "heard_unix_ms": 1,
        "sample": None,
        "inventory": None,
        "certificate_expires_unix_ms": 0,
        "clock_offset_ms": None,
        "desired_model_id": None,
        "problems": {},
    }
    return AgentStatus(**(values | fields))


def _page(
    capsys: pytest.CaptureFixture[str], status: AgentStatus | None, reliability: Reliability | None = None
) -> dict[str, str]:
    """The page's lines by their labels."""
    print_agent(AgentDetail.of_row(_row(), "acme", status, reliability).model_dump(mode="json"))
    lines = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {line[0]: line[-1] for line in lines}


def _card(**fields: Any) -> agent_pb2.TelemetrySample:
    return agent_pb2.TelemetrySample(
        card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK),
        cards=[agent_pb2.CardSample(index=0, uuid="GPU-0", **fields)],
    )


def test_an_agent_never_heard_of_shows_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, None)
    assert page["liveness"] == "never"
    assert page["last contact"] == "never"
    assert page["engine"] == "not known"


def test_readings_carry_units_and_what_is_not_known_is_not_0(capsys: pytest.CaptureFixture[str]) -> None:
    sample = _card(
        temperature_celsius=Reading(value=41),
        utilisation_percent=Reading(value=0),
        memory_used_bytes=Reading(value=2 * 1024**3),
        power_watts=Reading(unsupported=True),
        clock_graphics_mhz=Reading(error="Unknown Error"),
    )
    page = _page(capsys, _status(sample=sample))
    assert page["temperature"] == "41 °C"
    assert page["utilisation"] == "0 %"
    assert page["memory used"] == "2.00 GiB"
    assert page["power"] == "not supported"
    assert page["clock graphics"] == "error: Unknown Error"
    assert page["fan"] == "not read yet"


def test_a_simulated_card_is_labelled_wherever_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, _status(sample=_card(simulated=True)))
    assert page["agent"] == "box (simulated)"
    assert "(simulated)" in page["card 0"]


def test_a_lost_card_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert _page(capsys, _status(sample=_card(lost="GPU is lost")))["LOST"] == "GPU is lost"


def test_an_engines_failure_is_shown_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    engine = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_FAILED, detail="out of memory")
    sample = agent_pb2.TelemetrySample(engine=engine)
    page = _page(capsys, _status(sample=sample, problems={"deployment": "the engine failed"}))
    assert (page["engine"], page["detail"]) == ("failed", "out of memory")
    assert page["problem: deployment"] == "the engine failed"


def test_what_an_agent_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    engine = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_FAILED, detail="\x1b[2Jgone\nid  agt-2")
    page = _page(capsys, _status(sample=agent_pb2.TelemetrySample(engine=engine)))
    assert "\x1b" not in "".join(page.values())
    assert page["id"] == "agt-1"


def _health(sample: agent_pb2.TelemetrySample) -> AgentHealth:
    """After half a minute of the same."""
    state = AgentHealth()
    for second in range(0, 30, 2):
        state = observe(state, sample, None, lambda _: None, (float(second), second * 1000))
    return state


def test_what_is_wrong_with_a_card_is_shown_with_evidence_and_advice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample = _card(temperature_celsius=Reading(value=93))
    page = _page(capsys, _status(sample=sample, health=_health(sample)))
    assert page["health of cards"] == "critical"
    assert page["health"] == "critical"
    assert page["CRITICAL"] == "card 0: 93 °C, from 90 °C it is in danger"
    assert page["since"].startswith("1970-01-01 00:00:04 UTC")
    assert "fans" in page["advice"]
    assert page["rule"] == "temperature_critical"


def test_cards_that_are_well_are_said_to_be_good(capsys: pytest.CaptureFixture[str]) -> None:
    sample = _card(temperature_celsius=Reading(value=60))
    page = _page(capsys, _status(sample=sample, health=_health(sample)))
    assert page["health of cards"] == "good"
    assert "WARNING" not in page


def test_a_card_that_says_nothing_of_itself_is_not_called_good(capsys: pytest.CaptureFixture[str]) -> None:
    sample = _card(temperature_celsius=Reading(unsupported=True))
    assert _page(capsys, _status(sample=sample, health=_health(sample)))["health of cards"] == "unknown"


def test_how_reliable_it_was_is_shown_and_only_what_was_never_down_is_100_percent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hour_ms = 3_600_000
    never_down = Reliability(Span(0, 720 * hour_ms), 10 * hour_ms, 10 * hour_ms, 0, 0, 0)
    page = _page(capsys, None, never_down)
    assert page["last 30 days"] == "up 100 % of 10.0 h watched, no outages, no critical faults, no warnings"
    once = Reliability(Span(0, 720 * hour_ms), 720 * hour_ms, 720 * hour_ms - 1_000, 1, 1, 2)
    page = _page(capsys, None, once)
    assert page["last 30 days"] == "up 99.999 % of 30.0 days watched, 1 outage, 1 critical fault, 2 warnings"
    unseen = Reliability(Span(0, 720 * hour_ms), 0, 0, 0, 0, 0)
    assert _page(capsys, None, unseen)["last 30 days"] == "not watched yet"
    assert "last 30 days" not in _page(capsys, None)
