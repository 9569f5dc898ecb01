"""Judgements over what was seen. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane.doctor.finding import Finding, Verdict

MIB = 1024**2
# The store's group commits and a backup beside it need room; below the lower of them nothing is safe.
LITTLE_DISK_BYTES, TOO_LITTLE_DISK_BYTES = 2_048 * MIB, 200 * MIB
EXPIRES_SOON = timedelta(days=30)
# WireGuard gives a handshake anew every two minutes; three missed the next one.
SILENT_AFTER_S = 180
# A ticket is good for 30 s.
CLOCK_OFF_MS = 30_000
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Validity:
    """Of a certificate."""

    begins: datetime
    ends: datetime


def judge_modes(modes: Mapping[str, int | None]) -> Finding:
    """`modes`: the permission bits of what only its owner may read; None: it is not there."""
    check, title = "files", "secret files"
    missing = sorted(name for name, mode in modes.items() if mode is None)
    if missing:
        return Finding(
            check, title, Verdict.FAIL, f"missing: {', '.join(missing)}",
            "restore them from a backup; `daalu init` makes new ones, which no enrolled host knows",
        )  # fmt: skip
    open_ones = sorted(name for name, mode in modes.items() if mode is not None and mode & 0o077)
    if open_ones:
        return Finding(
            check, title, Verdict.FAIL, f"other users may read {', '.join(open_ones)}",
            f"chmod 600 {' '.join(open_ones)} there; if others may have read them, make new ones",
        )  # fmt: skip
    return Finding(check, title, Verdict.PASS, f"{len(modes)} are there, for their owner only")


def judge_disk(free_bytes: int) -> Finding:
    saw = f"{free_bytes // MIB:,} MiB free"
    advice = "make room: a store that cannot be written refuses every call but those on own cards"
    if free_bytes < TOO_LITTLE_DISK_BYTES:
        return Finding("disk", "disk", Verdict.FAIL, saw, advice)
    verdict = Verdict.WARN if free_bytes < LITTLE_DISK_BYTES else Verdict.PASS
    return Finding("disk", "disk", verdict, saw, advice if verdict is Verdict.WARN else "")


def judge_schema(found: str | None, ours: str) -> Finding:
    """`found`: the store's last migration; None: it has none."""
    if found == ours:
        return Finding("schema", "schema", Verdict.PASS, f"version {found}, this program's")
    if found is None or found < ours:
        return Finding(
            "schema", "schema", Verdict.WARN, f"version {found}; this program's is {ours}",
            "restart `daalu serve`: it brings the schema up to date when it starts",
        )  # fmt: skip
    return Finding(
        "schema", "schema", Verdict.FAIL, f"version {found}; this program knows {ours}",
        "install the newer version that has used this store, or restore a backup of before",
    )  # fmt: skip


def judge_certificate(check: str, title: str, validity: Validity, now: datetime, renewal: str) -> Finding:
    """`renewal`: how to have a new one."""
    if now < validity.begins:
        return Finding(
            check, title, Verdict.FAIL, f"valid only from {validity.begins:%Y-%m-%d %H:%M} UTC on",
            "look at this machine's clock",
        )  # fmt: skip
    saw = f"valid until {validity.ends:%Y-%m-%d}"
    if now >= validity.ends:
        return Finding(check, title, Verdict.FAIL, f"expired on {validity.ends:%Y-%m-%d}", renewal)
    if validity.ends - now < EXPIRES_SOON:
        return Finding(check, title, Verdict.WARN, saw, renewal)
    return Finding(check, title, Verdict.PASS, saw)


def judge_hub(*, runs: bool, interface: str, is_up: bool, tunnels_count: int) -> Finding:
    """`tunnels_count`: agents that come through a tunnel."""
    check, title = "hub", "hub"
    start = "run `daalu hub` as root"
    if runs and is_up:
        return Finding(check, title, Verdict.PASS, f"runs, interface {interface} is up")
    saw = "does not run" if not runs else f"runs, but there is no interface {interface}"
    if is_up:
        saw += f"; interface {interface} is still up, so tunnels work, but changes do not reach it"
    if not tunnels_count and not runs:
        return Finding(check, title, Verdict.WARN, f"{saw}; no host needs it yet", start)
    hosts = f"{tunnels_count} host{'' if tunnels_count == 1 else 's'} need it"
    advice = start if not runs else "its log says why; it builds the interface anew by itself"
    return Finding(check, title, Verdict.FAIL, f"{saw}; {hosts}", advice)


def judge_handshakes(ages_s: Sequence[float | None]) -> Finding:
    """`ages_s`: of each peer's last handshake; None: there never was one."""
    check, title = "peers", "tunnels"
    if not ages_s:
        return Finding(check, title, Verdict.NOT_AVAILABLE, "no peers")
    heard = sum(1 for age_s in ages_s if age_s is not None and age_s <= SILENT_AFTER_S)
    saw = f"{heard} of {len(ages_s)} peers had a handshake within {SILENT_AFTER_S} s"
    if heard == len(ages_s):
        return Finding(check, title, Verdict.PASS, saw)
    if heard:
        return Finding(
            check, title, Verdict.WARN, saw, "daalu agents list says which hosts; are they switched on?"
        )
    return Finding(
        check, title, Verdict.FAIL, saw, "does a firewall stop UDP to the hub's port? `daalu agents list`"
    )


def judge_synchronised(*, synchronised: bool) -> Finding:
    if synchronised:
        return Finding("clock", "clock", Verdict.PASS, "kept by a time service")
    return Finding(
        "clock", "clock", Verdict.WARN, "the kernel knows of no time service that keeps it",
        "timedatectl set-ntp true; calls are refused once a host's clock is 30 s away",
    )  # fmt: skip


def judge_clocks(agents: Sequence[Mapping[str, Any]]) -> Finding:
    """Of agents as REST shows them."""
    known = {each["name"]: each["clock_offset_ms"] for each in agents if each["clock_offset_ms"] is not None}
    if not known:
        return Finding("agents_clocks", "hosts' clocks", Verdict.NOT_AVAILABLE, "no host was heard yet")
    off = [name for name, offset_ms in known.items() if abs(offset_ms) > CLOCK_OFF_MS]
    if not off:
        most_ms = max(abs(offset_ms) for offset_ms in known.values())
        return Finding("agents_clocks", "hosts' clocks", Verdict.PASS, f"at most {most_ms / 1000:.1f} s off")
    whose = "this machine's clock may be the wrong one: " if len(off) == len(known) > 1 else ""
    return Finding(
        "agents_clocks", "hosts' clocks", Verdict.FAIL, f"more than 30 s off: {_named(off)}",
        f"{whose}timedatectl set-ntp true there, or calls are refused",
    )  # fmt: skip


def judge_agents(agents: Sequence[Mapping[str, Any]]) -> Finding:
    """Of agents that are not revoked, as REST shows them."""
    check, title = "agents", "hosts"
    if not agents:
        return Finding(check, title, Verdict.NOT_AVAILABLE, "none yet", "daalu agents invite --tenant TENANT")
    silent = [each["name"] for each in agents if each["liveness"] != "live"]
    ill = [each["name"] for each in agents if each["health"] == "critical"]
    if not silent and not ill:
        return Finding(check, title, Verdict.PASS, f"{len(agents)} live, no card is critical")
    saw = [f"{len(agents) - len(silent)} of {len(agents)} live"]
    saw += [f"not heard of now: {_named(silent)}"] if silent else []
    saw += [f"a card is critical: {_named(ill)}"] if ill else []
    verdict = Verdict.FAIL if len(silent) == len(agents) else Verdict.WARN
    return Finding(check, title, verdict, "; ".join(saw), "daalu agents show AGENT says why, and what to do")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(sorted(names)[:MOST_NAMED]) + more
