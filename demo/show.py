"""A card's telemetry as the control plane has it, in lines for people."""

from typing import Any

_UNITS = {"celsius": " °C", "percent": " %", "watts": " W", "mhz": " MHz"}
_SHOWN = {
    "temperature_celsius": "temperature",
    "utilisation_percent": "utilisation",
    "power_watts": "power",
    "clock_graphics_mhz": "graphics clock",
    "throttle": "throttled by",
}


def card_lines(agent: dict[str, Any]) -> list[str]:
    """`agent` as the REST interface shows it."""
    if not agent["cards"]:
        system = agent["card_system"]
        return [f"none: {system['detail'] if system else 'nothing was heard yet'}"]
    return [line for card in agent["cards"] for line in _lines(card)]


def _lines(card: dict[str, Any]) -> list[str]:
    label = " (SIMULATED)" if card["simulated"] else ""
    first = f"{card['properties']['name']['value']}{label}, {card['uuid']}"
    if card["lost"]:
        return [first, f"lost: {card['lost']}"]
    readings = card["readings"]
    shown = [f"{word} {_reading(readings[name])}" for name, word in _SHOWN.items()]
    used, total = readings["memory_used_bytes"], readings["memory_total_bytes"]
    return [first, ", ".join([*shown, f"memory {_gib(used)} of {_gib(total)}"])]


def _gib(reading: dict[str, Any]) -> str:
    return f"{reading['value'] / (1 << 30):.1f} GiB" if reading["state"] == "ok" else _reading(reading)


def _reading(reading: dict[str, Any]) -> str:
    match reading["state"]:
        case "ok":
            value = reading["value"]
            if isinstance(value, list):
                return ", ".join(value) or "nothing"
            return f"{value:g}{_UNITS[reading['unit']]}"
        case "error":
            return f"error ({reading['error']})"
        case state:
            return str(state)
