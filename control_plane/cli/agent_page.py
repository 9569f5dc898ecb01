"""One agent, printed for people. Values carry their units; what is not known never looks like 0."""

from typing import Any

from control_plane.cli.show import ago, moment, plain, print_pairs

_GIB = 1024**3
_UNITS = {"celsius": " °C", "percent": " %", "watts": " W", "mhz": " MHz", "lanes": " lanes"}
_ENDINGS = ("_celsius", "_percent", "_bytes", "_watts", "_mhz", "_count", "_lanes")


def print_agent(agent: dict[str, Any]) -> None:
    host = agent["host"]
    print_pairs(
        [
            ("agent", agent["name"] + _simulated(agent)),
            ("id", agent["id"]),
            ("tenant", f"{agent['tenant_name']} ({agent['tenant_id']})"),
            ("connection", _connection(agent)),
            ("version", agent["agent_version"]),
            ("enrolled", moment(agent["created_unix_ms"])),
            ("revoked", moment(agent["revoked_unix_ms"]) if agent["revoked_unix_ms"] else None),
            ("certificate", f"until {moment(agent['certificate_expires_unix_ms'])}"),
            ("liveness", agent["liveness"]),
            ("last contact", ago(agent["heard_unix_ms"])),
            ("clock", _clock(agent["clock_offset_ms"])),
            ("host", _host(host) if host else None),
            ("health of cards", agent["health"]),
            ("drained", "yes: it takes no new calls" if agent["drained"] else None),
            ("pool work", "paused: own calls only" if agent["pool_paused"] else agent["pool_closed"]),
            ("last 30 days", _reliability(agent["reliability"])),
            *[(f"problem: {part}", words) for part, words in agent["problems"].items()],
        ]
    )
    _print_findings(agent)
    _print_engine(agent)
    _print_cards(agent)


def _print_findings(agent: dict[str, Any]) -> None:
    indices = {card["uuid"]: card["index"] for card in agent["cards"]}
    for finding in agent["findings"]:
        where = f"card {indices.get(finding['card_uuid'], '?')}" if finding["card_uuid"] else "host"
        print()
        print_pairs(
            [
                (finding["health"].upper(), f"{where}: {finding['evidence']}"),
                ("since", f"{moment(finding['since_unix_ms'])} ({ago(finding['since_unix_ms'])})"),
                ("advice", finding["advice"]),
                ("rule", finding["code"]),
            ]
        )


def _print_engine(agent: dict[str, Any]) -> None:
    engine = agent["engine"]
    print()
    print_pairs([("wanted model", agent["desired_model_id"] or "none"), ("progress", agent["progress"])])
    if engine is None:
        print_pairs([("engine", "not known")])
        return
    loading = f", {engine['progress_percent']} %" if engine["phase"] in ("loading", "starting") else ""
    serving = bool(engine["model_id"])
    print_pairs(
        [
            ("engine", engine["phase"] + loading),
            ("detail", engine["detail"] or None),
            ("model", f"{engine['model_id']}, asked for as {engine['served_name']}" if serving else None),
            ("context", f"{engine['context_tokens']:,} tokens" if serving else None),
            ("calls", _calls(engine) if serving else None),
            ("KV cache in use", reading(engine["kv_cache_percent"]) if serving else None),
            ("restarts", engine["restarts_count"]),
        ]
    )


def _print_cards(agent: dict[str, Any]) -> None:
    print()
    system = agent["card_system"]
    if system is None:
        print("cards  not known: the agent has not been heard of")
        return
    print_pairs(
        [
            ("cards", system["state"].replace("_", " ")),
            ("detail", system["detail"] or None),
            ("driver", reading(system["driver_version"])),
            ("NVML", reading(system["nvml_version"])),
        ]
    )
    for card in agent["cards"]:
        print()
        name = reading(card["properties"]["name"])
        print(plain(f"card {card['index']}  {name}{_simulated(card)}  {card['uuid']}"))
        pairs: list[tuple[str, object]] = [("LOST", card["lost"]), ("health", card["health"])]
        pairs += [(_label(key), reading(value)) for key, value in card["properties"].items() if key != "name"]
        pairs += [(_label(key), reading(value)) for key, value in card["readings"].items()]
        # Both have the total; what the card says now comes last and wins.
        print_pairs(dict(pairs).items(), indent="  ")


def reading(value: dict[str, Any]) -> str:
    """A reading with its unit, or why there is none."""
    match value["state"]:
        case "unsupported":
            return "not supported"
        case "error":
            return f"error: {value['error']}"
        case "absent":
            return "not read yet"
    number, unit = value["value"], value["unit"]
    if isinstance(number, list):
        return ", ".join(number).replace("_", " ") or "none"
    if isinstance(number, str):
        return number
    if unit == "bytes":
        return f"{number / _GIB:.2f} GiB"
    return f"{number:g}{_UNITS.get(unit, '')}"


def _label(key: str) -> str:
    for ending in _ENDINGS:
        key = key.removesuffix(ending)
    return key.replace("_", " ")


def _simulated(thing: dict[str, Any]) -> str:
    return " (simulated)" if thing["simulated"] else ""


def _connection(agent: dict[str, Any]) -> str:
    if agent["connection"] == "direct":
        return "direct: no tunnel, loopback only"
    return f"{agent['connection']}, {agent['tunnel_address']}"


def _clock(offset_ms: int | None) -> str | None:
    if offset_ms is None:
        return None
    return f"{abs(offset_ms) / 1000:.1f} s {'ahead' if offset_ms >= 0 else 'behind'}"


def _reliability(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    if found["uptime_percent"] is None:
        return "not watched yet"
    # Cut and not rounded: 100 % is said of what was never down.
    uptime = int(found["uptime_percent"] * 1000) / 1000
    watched_h = found["observed_ms"] / 3_600_000
    watched = f"{watched_h / 24:.1f} days" if watched_h >= 48 else f"{watched_h:.1f} h"
    counts = [
        _count(found["outages_count"], "outage"),
        _count(found["faults_count"], "critical fault"),
        _count(found["warnings_count"], "warning"),
    ]
    return f"up {uptime:g} % of {watched} watched, {', '.join(counts)}"


def _count(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _host(host: dict[str, Any]) -> str:
    memory = host["memory_total_bytes"] / _GIB
    return (
        f"{host['host_name']}, {host['operating_system']}, kernel {host['kernel_release']},"
        f" {host['cpu_count']} processors, {memory:.1f} GiB memory"
    )


def _calls(engine: dict[str, Any]) -> str:
    return (
        f"{engine['running_calls']} of {engine['max_running_calls']} running,"
        f" {engine['waiting_calls']} waiting"
    )
