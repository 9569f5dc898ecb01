"""The rows of `daalu top`, and the lines of `daalu agents watch`."""

from typing import Any

from control_plane.cli.agent_watch import is_reached, watch_line, watched
from control_plane.cli.fleet_page import COLUMNS, Only, Sort, fleet_rows, summary

NOW_MS = 1_794_300_000_000


def _reading(value: float | None, unit: str) -> dict[str, Any]:
    return {"state": "unsupported" if value is None else "ok", "unit": unit, "value": value, "error": None}


def _card(celsius: float | None = 40, use: float | None = 0) -> dict[str, Any]:
    readings = {
        "temperature_celsius": _reading(celsius, "celsius"),
        "utilisation_percent": _reading(use, "percent"),
        "memory_used_bytes": _reading(2**30, "bytes"),
    }
    return {"index": 0, "health": "good", "lost": None, "readings": readings}


def _agent(name: str, *cards: dict[str, Any], **fields: Any) -> dict[str, Any]:
    engine = {
        "phase": "ready", "model_id": "tiny", "running_calls": 3, "waiting_calls": 1,
        "progress_percent": 100, "detail": "",
    }  # fmt: skip
    return {
        "id": f"agt-{name}", "name": name, "tenant_name": "acme", "simulated": False, "liveness": "live",
        "heard_unix_ms": NOW_MS - 2_000, "engine": engine, "desired_model_id": "tiny", "drained": False,
        "pool_paused": False, "health": "good", "problems": {}, "cards": list(cards),
    } | fields  # fmt: skip


def _names(agents: list[dict[str, Any]], sort: Sort = Sort.NAME, only: Only = Only.ALL) -> list[str]:
    return [row.cells[0] for row in fleet_rows(agents, sort, only, NOW_MS)]


def test_a_row_has_a_cell_for_each_column_and_says_what_a_card_cannot() -> None:
    lost = _card() | {"lost": "fell off the bus"}
    agents = [_agent("a", _card(use=None)), _agent("b", engine=None, heard_unix_ms=None), _agent("c", lost)]
    known, unknown, gone = fleet_rows(agents, Sort.NAME, Only.ALL, NOW_MS)
    assert {len(each.cells) for each in (known, unknown, gone)} == {len(COLUMNS)}
    assert known.cells == (
        "a", "acme", "live", "2 s ago", "tiny ready", "3 + 1", "0", "good",
        "40 °C", "not supported", "1.00 GiB", "not read yet",
    )  # fmt: skip
    assert (unknown.cells[3], unknown.cells[6]) == ("never", "not known")
    assert "lost" in gone.cells
    assert "0 %" in fleet_rows([_agent("a", _card(use=0))], Sort.NAME, Only.ALL, NOW_MS)[0].cells


def test_silent_hosts_are_stale_and_critical_ones_stand_out() -> None:
    rows = fleet_rows(
        [_agent("a", _card(), liveness="out"), _agent("b", _card(), health="critical"), _agent("c", _card())],
        Sort.NAME, Only.ALL, NOW_MS,
    )  # fmt: skip
    assert [(row.stale, row.unwell) for row in rows] == [(True, False), (False, True), (False, False)]


def test_rows_are_sorted_highest_first_and_what_is_not_known_comes_last() -> None:
    agents = [_agent("a", _card(50)), _agent("b", _card(None)), _agent("c", _card(90)), _agent("d")]
    assert _names(agents, Sort.TEMPERATURE) == ["c", "a", "b", "d"]
    assert _names(list(reversed(agents))) == ["a", "b", "c", "d"]
    busy = _agent("z", engine=agents[0]["engine"] | {"running_calls": 9})
    assert _names([*agents, busy], Sort.CALLS)[0] == "z"


def test_hosts_are_left_out_by_what_is_asked_for() -> None:
    agents = [_agent("a"), _agent("b", liveness="suspect"), _agent("c", problems={"engine": "no driver"})]
    assert _names(agents, only=Only.LIVE) == ["a", "c"]
    assert _names(agents, only=Only.SILENT) == ["b"]
    assert _names(agents, only=Only.UNWELL) == ["c"]
    assert summary(agents) == "2 of 3 hosts live, 0 cards, 9 calls running"


def test_a_watched_agents_line_changes_with_its_state_and_not_with_its_figures() -> None:
    agent = _agent("a", _card())
    assert watch_line(watched(agent)) == "live; cards good; tiny ready"
    later = agent | {"heard_unix_ms": NOW_MS, "engine": agent["engine"] | {"running_calls": 7}}
    assert watched(later) == watched(agent)
    loading = agent["engine"] | {"phase": "loading", "progress_percent": 40, "detail": "reading weights"}
    stuck = _agent("a", engine=loading, drained=True, problems={"clock": "is off"})
    assert watch_line(watched(stuck)) == (
        "live; cards good; tiny loading 40 %; reading weights; drained; clock: is off"
    )
    assert watch_line(watched(_agent("a", engine=None, liveness="never"))) == "never; cards good"


def test_what_is_waited_for_is_reached_only_while_it_is_live() -> None:
    ready, silent = watched(_agent("a")), watched(_agent("a", liveness="out"))
    loading = watched(_agent("a", engine=_agent("a")["engine"] | {"phase": "loading"}))
    assert is_reached(ready, ready=True)
    assert is_reached(loading, ready=False)
    assert not is_reached(loading, ready=True)
    assert not is_reached(silent, ready=False)
