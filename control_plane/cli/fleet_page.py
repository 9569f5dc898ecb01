"""The fleet as a table of cards, for `daalu top`. Pure: what REST answered in, rows out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.cli.agent_page import reading
from control_plane.cli.show import ago

COLUMNS = (
    "HOST",
    "TENANT",
    "STATE",
    "HEARD",
    "MODEL",
    "CALLS",
    "CARD",
    "HEALTH",
    "TEMP",
    "USE",
    "MEMORY",
    "POWER",
)
_ABSENT = {"state": "absent"}


class Sort(StrEnum):
    NAME = "name"
    TEMPERATURE = "temperature"
    USE = "use"
    MEMORY = "memory"
    CALLS = "calls"


class Only(StrEnum):
    ALL = "all"
    LIVE = "live"
    SILENT = "silent"
    UNWELL = "unwell"


@dataclass(frozen=True, slots=True)
class FleetRow:
    """A card, or a host whose cards are not known. `stale`: what it shows is not of now."""

    cells: tuple[str, ...]
    stale: bool
    unwell: bool


def fleet_rows(agents: Sequence[dict[str, Any]], sort: Sort, only: Only, now_unix_ms: int) -> list[FleetRow]:
    """What cannot be compared comes last."""
    pairs = [(agent, card) for agent in agents if _wanted(agent, only) for card in agent["cards"] or [None]]
    pairs.sort(key=lambda pair: _key(pair[0], pair[1], sort))
    return [_row(agent, card, now_unix_ms) for agent, card in pairs]


def summary(agents: Sequence[dict[str, Any]]) -> str:
    live = sum(1 for agent in agents if agent["liveness"] == "live")
    running = sum(agent["engine"]["running_calls"] for agent in agents if agent["engine"])
    cards = sum(len(agent["cards"]) for agent in agents)
    return f"{live} of {len(agents)} hosts live, {cards} cards, {running} calls running"


def _wanted(agent: dict[str, Any], only: Only) -> bool:
    match only:
        case Only.LIVE:
            return bool(agent["liveness"] == "live")
        case Only.SILENT:
            return bool(agent["liveness"] != "live")
        case Only.UNWELL:
            return agent["health"] in ("warning", "critical") or bool(agent["problems"])
    return True


def _key(agent: dict[str, Any], card: dict[str, Any] | None, sort: Sort) -> tuple[float, str, int]:
    index = -1 if card is None else card["index"]
    value: float | None
    match sort:
        case Sort.TEMPERATURE:
            value = _number(card, "temperature_celsius")
        case Sort.USE:
            value = _number(card, "utilisation_percent")
        case Sort.MEMORY:
            value = _number(card, "memory_used_bytes")
        case Sort.CALLS:
            value = agent["engine"]["running_calls"] if agent["engine"] else None
        case _:
            value = 0
    return (float("inf") if value is None else -value), agent["name"], index


def _row(agent: dict[str, Any], card: dict[str, Any] | None, now_unix_ms: int) -> FleetRow:
    engine = agent["engine"]
    serving = engine is not None and engine["model_id"]
    cells = (
        agent["name"] + (" (simulated)" if agent["simulated"] else ""),
        agent["tenant_name"],
        _state(agent),
        ago(agent["heard_unix_ms"], now_unix_ms),
        f"{engine['model_id']} {engine['phase']}" if serving else agent["desired_model_id"] or "-",
        f"{engine['running_calls']} + {engine['waiting_calls']}" if serving else "-",
        *(_card(card) if card is not None else ("not known", *("-" for _ in range(5)))),
    )
    return FleetRow(cells, stale=agent["liveness"] != "live", unwell=agent["health"] == "critical")


def _state(agent: dict[str, Any]) -> str:
    marks = [name for name in ("drained", "pool_paused") if agent[name]]
    return ", ".join([agent["liveness"], *marks]).replace("_", " ")


def _card(card: dict[str, Any]) -> tuple[str, ...]:
    if card["lost"]:
        return (f"{card['index']}", "lost", *("-" for _ in range(4)))
    readings = card["readings"]
    return (
        f"{card['index']}",
        card["health"],
        *(
            reading(readings.get(name, _ABSENT))
            for name in ("temperature_celsius", "utilisation_percent", "memory_used_bytes", "power_watts")
        ),
    )


def _number(card: dict[str, Any] | None, name: str) -> float | None:
    found = (card or {}).get("readings", {}).get(name, _ABSENT)
    return found["value"] if found["state"] == "ok" else None
