"""A snapshot in words: pure."""

import datetime as dt
from collections.abc import Iterator

from daalu_wire.v1 import agent_pb2

from agent.status.snapshot import Snapshot
from agent.tunnel import LinkStatus

# The control plane takes a sample every few seconds; liveness is lost after 15 s.
SILENCE = dt.timedelta(seconds=15)
_MIB = 1024 * 1024
_PHASES = {
    agent_pb2.ENGINE_PHASE_UNSPECIFIED: "not watched",
    agent_pb2.ENGINE_PHASE_STOPPED: "stopped",
    agent_pb2.ENGINE_PHASE_STARTING: "starting",
    agent_pb2.ENGINE_PHASE_LOADING: "loading",
    agent_pb2.ENGINE_PHASE_READY: "ready",
    agent_pb2.ENGINE_PHASE_DRAINING: "draining",
    agent_pb2.ENGINE_PHASE_BACKING_OFF: "down, will be started again",
    agent_pb2.ENGINE_PHASE_FAILED: "failed, will not be started again by itself",
    agent_pb2.ENGINE_PHASE_STOPPING: "stopping",
}
_CARD_STATES = {
    agent_pb2.CARD_SYSTEM_STATE_UNSPECIFIED: "not read",
    agent_pb2.CARD_SYSTEM_STATE_OK: "none",
    agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER: "no driver",
    agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH: "driver mismatch",
    agent_pb2.CARD_SYSTEM_STATE_ERROR: "cannot be read",
    agent_pb2.CARD_SYSTEM_STATE_SIMULATED: "simulated",
}


def describe(snapshot: Snapshot) -> str:
    return "\n".join(f"{title + ':':<15}{text}" for title, text in _lines(snapshot)) + "\n"


def _lines(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    now, identity = snapshot.taken, snapshot.identity
    yield (
        "daemon",
        "not running" if snapshot.daemon_pid is None else f"running, process {snapshot.daemon_pid}",
    )
    if identity is None:
        yield "identity", "not enrolled (daalu-agent enrol INVITE)"
    else:
        yield "identity", f"{identity.agent_name} ({identity.agent_id}) of tenant {identity.tenant_name}"
        yield "control plane", identity.control_plane_url
        yield "ports", f"agent {identity.rpc_port}, engine {identity.engine_port}, on {identity.address}"
        if snapshot.certificate_expires is not None:
            yield "certificate", _certificate(snapshot.certificate_expires, now)
    if snapshot.link is not None:
        yield "tunnel", _link(snapshot.link, now)
    yield from _cards(snapshot)
    if snapshot.engine is not None:
        yield "engine", _engine(snapshot.engine)
    if snapshot.daemon_pid is not None:
        yield "last contact", _contact(snapshot.last_contact, now)
    for fault in snapshot.faults:
        yield "fault", fault


def _certificate(expires: dt.datetime, now: dt.datetime) -> str:
    if expires <= now:
        return (
            f"expired {_span(now - expires)} ago; a self-signed one with the same key stands in until renewal"
        )
    return f"good for {_span(expires - now)}"


def _link(link: LinkStatus, now: dt.datetime) -> str:
    words = link.words
    if link.latest_handshake_unix_s is None:
        return words
    if link.latest_handshake_unix_s == 0:
        heard = "no handshake yet"
    else:
        heard = (
            f"handshake {_span(now - dt.datetime.fromtimestamp(link.latest_handshake_unix_s, dt.UTC))} ago"
        )
    amounts = f"{_amount(link.received_bytes or 0)} received, {_amount(link.sent_bytes or 0)} sent"
    return f"{link.interface} {words}, hub {link.hub_endpoint}, {heard}, {amounts}"


def _cards(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    system = snapshot.card_system
    if not snapshot.cards:
        words = _CARD_STATES.get(system.state, "unknown")
        yield "cards", f"{words} ({system.detail})" if system.detail else words
        return
    samples = {sample.uuid: sample for sample in snapshot.samples}
    for card in snapshot.cards:
        title = f"card {card.index}"
        name = card.name.value or card.uuid
        label = "simulated: " if card.simulated and "simulated" not in name.lower() else ""
        sample = samples.get(card.uuid)
        if sample is None:
            yield title, f"{label}{name}"
        elif sample.lost:
            yield title, f"{label}{name}: LOST ({sample.lost})"
        else:
            yield title, f"{label}{name}: {_sample(sample)}"


def _sample(sample: agent_pb2.CardSample) -> str:
    used = _reading(sample.memory_used_bytes, "", _MIB)
    memory = f"{used} of {_reading(sample.memory_total_bytes, ' MiB', _MIB)} memory"
    return ", ".join(
        [
            _reading(sample.temperature_celsius, " °C"),
            f"{_reading(sample.utilisation_percent, ' %')} busy",
            memory,
            _reading(sample.power_watts, " W"),
        ]
    )


def _reading(reading: agent_pb2.Reading, unit: str, scale: int = 1) -> str:
    match reading.WhichOneof("reading"):
        case "value":
            return f"{reading.value / scale:.0f}{unit}"
        case "unsupported":
            return f"(unsupported){unit}"
        case "error":
            return f"(error: {reading.error})"
        case _:
            return f"(not read){unit}"


def _engine(engine: agent_pb2.EngineSample) -> str:
    words = _PHASES.get(engine.phase, "unknown")
    if engine.phase == agent_pb2.ENGINE_PHASE_LOADING:
        words += f" {engine.progress_percent} %"
    if engine.phase == agent_pb2.ENGINE_PHASE_STOPPED and not engine.model.model_id:
        words += ", no model wanted"
    if engine.model.model_id:
        words += f", {engine.model.model_id}"
        if engine.served_name:
            words += f" as {engine.served_name}"
    if engine.phase in (agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING):
        words += f", {engine.running_calls} calls running, {engine.waiting_calls} waiting"
    if engine.restarts_count:
        words += f", restarted {engine.restarts_count} times"
    return f"{words} ({engine.detail})" if engine.detail else words


def _contact(last: dt.datetime | None, now: dt.datetime) -> str:
    if last is None:
        return "none since the daemon started"
    age = now - last
    words = f"the control plane was here {_span(age)} ago"
    return words if age < SILENCE else f"{words}: it should be every few seconds"


def _span(span: dt.timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    if seconds < 2 * 86400:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} days"


def _amount(count_bytes: int) -> str:
    return f"{count_bytes / _MIB:.1f} MiB" if count_bytes >= _MIB // 10 else f"{count_bytes} bytes"
