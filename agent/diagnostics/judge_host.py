"""Verdicts on the host, its link to the hub and its engine. Pure."""

from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from agent.diagnostics.finding import Evidence, Finding, Verdict
from agent.tunnel import LinkStatus

_GIB = 1024**3
STATE_FAIL_BYTES, STATE_WARN_BYTES = _GIB, 5 * _GIB
# Less does not hold the weights of a model worth fetching.
MODELS_WARN_BYTES = 20 * _GIB
SLOW_FLUSH_S = 1.0
MEMORY_FAIL_SHARE, MEMORY_WARN_SHARE = 0.05, 0.10
# A ticket is good for 30 s; an engine's gate refuses what its own clock takes for expired.
SKEW_FAIL_MS, SKEW_WARN_MS = 25_000, 5_000
# WireGuard speaks at least every 25 s here, and renews its session every two minutes.
STALE_S = 180
# What WireGuard adds to a packet, over IPv4 and over IPv6.
OVERHEAD_BYTES = {4: 60, 6: 80}
SLOW_TOKEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Disk:
    """`flush_s`: what writing and flushing a small file took; None: that was not tried."""

    path: str
    free_bytes: int
    total_bytes: int
    flush_s: float | None = None


@dataclass(frozen=True, slots=True)
class PathMtu:
    """Of the way to the hub, outside of the tunnel. `ip_version`: the hub's endpoint's, 4 or 6."""

    endpoint: str
    ip_version: int
    path_bytes: int
    tunnel_bytes: int


def disk(state: Disk, models: Disk | None) -> Finding:
    places = [("state", state), *([("models", models)] if models else [])]
    saw = ", ".join(f"{name}: {_free(place)}" for name, place in places)
    if state.flush_s is not None:
        saw += f", a small file was flushed in {state.flush_s * 1000:.0f} ms"
    evidence = tuple(Evidence(f"statvfs {place.path}", _free(place)) for _, place in places)
    if state.free_bytes < STATE_FAIL_BYTES:
        advice = f"free space on {state.path}: receipts of calls are written there"
        return Finding(Verdict.FAIL, saw, advice, evidence)
    if state.free_bytes < STATE_WARN_BYTES:
        return Finding(Verdict.WARN, saw, f"free space on {state.path}", evidence)
    if models is not None and models.free_bytes < MODELS_WARN_BYTES:
        advice = f"free space on {models.path} before a larger model is deployed"
        return Finding(Verdict.WARN, saw, advice, evidence)
    if state.flush_s is not None and state.flush_s > SLOW_FLUSH_S:
        advice = "the disk is slow or worn: every call's receipt waits for it (`smartctl -a`, `iostat -x 1`)"
        return Finding(Verdict.WARN, saw, advice, evidence)
    return Finding(Verdict.PASS, saw, "", evidence)


def memory(total_bytes: int, available_bytes: int, swap_free_bytes: int) -> Finding:
    share = available_bytes / total_bytes if total_bytes else 0.0
    saw = f"{available_bytes / _GIB:.1f} of {total_bytes / _GIB:.1f} GiB available"
    evidence = (Evidence("/proc/meminfo", f"{saw}, swap free {swap_free_bytes / _GIB:.1f} GiB"),)
    advice = "see what takes it (`ps aux --sort -rss | head`): the kernel may end the engine for its memory"
    if share < MEMORY_FAIL_SHARE:
        return Finding(Verdict.FAIL, saw, advice, evidence)
    return Finding(
        Verdict.WARN if share < MEMORY_WARN_SHARE else Verdict.PASS,
        saw,
        advice if share < MEMORY_WARN_SHARE else "",
        evidence,
    )


def clock(skew_ms: int | None) -> Finding:
    """`skew_ms`: this host's clock less the control plane's; None: nobody told its time."""
    if skew_ms is None:
        return Finding(
            Verdict.NOT_AVAILABLE, "only the control plane can compare clocks: `daalu diagnostics run`"
        )
    side = "ahead of" if skew_ms > 0 else "behind"
    saw = f"{abs(skew_ms) / 1000:.2f} s {side} the control plane's, transport included"
    evidence = (Evidence("this host's clock less the caller's", f"{skew_ms} ms"),)
    advice = "set the clock of the host that is wrong, and keep it so (`timedatectl set-ntp true`)"
    if abs(skew_ms) >= SKEW_FAIL_MS:
        return Finding(Verdict.FAIL, f"{saw}: tickets are refused", advice, evidence)
    warn = abs(skew_ms) >= SKEW_WARN_MS
    return Finding(Verdict.WARN if warn else Verdict.PASS, saw, advice if warn else "", evidence)


def tunnel(link: LinkStatus | None, now_unix_s: float) -> Finding:
    if link is None:
        return Finding(Verdict.NOT_AVAILABLE, "this host is not enrolled", "daalu-agent enrol INVITE")
    if link.interface is None:
        return Finding(Verdict.NOT_AVAILABLE, link.words)
    evidence = (Evidence(f"ip address, wg show {link.interface}", _link(link)),)
    if link.latest_handshake_unix_s is None:
        advice = "start the daemon (`systemctl start daalu-agent`), and see its log if it does not stay up"
        return Finding(Verdict.FAIL, f"{link.interface} {link.words}", advice, evidence)
    reach = f"let UDP to {link.hub_endpoint} out of this network, and see that `daalu hub` runs there"
    if link.latest_handshake_unix_s == 0:
        return Finding(Verdict.FAIL, f"{link.interface}: the hub never answered", reach, evidence)
    age_s = max(0.0, now_unix_s - link.latest_handshake_unix_s)
    saw = f"{link.interface} {link.words}, last handshake {age_s:.0f} s ago"
    if age_s > STALE_S:
        return Finding(Verdict.FAIL, f"{saw}: the hub is not heard any more", reach, evidence)
    return Finding(Verdict.PASS, saw, "", evidence)


def mtu(path: PathMtu) -> Finding:
    needed = path.tunnel_bytes + OVERHEAD_BYTES[path.ip_version]
    saw = (
        f"packets of {path.path_bytes} bytes pass to {path.endpoint}, the tunnel's of {path.tunnel_bytes}"
        f" need {needed}"
    )
    evidence = (Evidence("path MTU of a datagram socket to the hub, after two full datagrams", saw),)
    if path.path_bytes < needed:
        advice = "large packets are cut in pieces or lost on the way: raise the MTU of what lies between"
        return Finding(Verdict.WARN, saw, advice, evidence)
    return Finding(Verdict.PASS, saw, "", evidence)


def engine(sample: agent_pb2.EngineSample, first_token_s: float | None, silence: str | None) -> Finding:
    """`first_token_s`: how long a probe took; `silence`: why it failed; neither: there was none to make."""
    model = sample.model.model_id
    evidence = [
        Evidence("the engine room", f"{_phase(sample)}, model {model or 'none'}. {sample.detail}".strip())
    ]
    if first_token_s is not None:
        evidence.append(Evidence("POST /v1/completions, one token", f"answered in {first_token_s:.2f} s"))
        saw = f"{model} answered a probe with a token in {first_token_s:.2f} s"
        slow = first_token_s > SLOW_TOKEN_S
        advice = "see its queue and what else works on the card (`daalu agents show`)" if slow else ""
        return Finding(Verdict.WARN if slow else Verdict.PASS, saw, advice, tuple(evidence))
    if silence is not None:
        evidence.append(Evidence("POST /v1/completions, one token", silence))
        advice = "see engine.log in the state directory; stop and deploy the model again"
        return Finding(Verdict.FAIL, f"{model} fails its probe: {silence}", advice, tuple(evidence))
    if not model:
        return Finding(
            Verdict.NOT_AVAILABLE,
            "no model is deployed",
            "daalu models deploy MODEL --agent AGENT",
            tuple(evidence),
        )
    if sample.phase in (agent_pb2.ENGINE_PHASE_FAILED, agent_pb2.ENGINE_PHASE_BACKING_OFF):
        advice = "its words say what to do; engine.log in the state directory has more"
        return Finding(Verdict.FAIL, f"{model}: {sample.detail or _phase(sample)}", advice, tuple(evidence))
    return Finding(
        Verdict.NOT_AVAILABLE,
        f"{model} is {_phase(sample)}, not ready yet",
        "ask again when it is ready",
        tuple(evidence),
    )


def _free(place: Disk) -> str:
    return f"{place.free_bytes / _GIB:.1f} of {place.total_bytes / _GIB:.1f} GiB free"


def _link(link: LinkStatus) -> str:
    return (
        f"{link.words}, endpoint {link.hub_endpoint}, latest handshake {link.latest_handshake_unix_s},"
        f" {link.received_bytes} bytes received, {link.sent_bytes} sent"
    )


def _phase(sample: agent_pb2.EngineSample) -> str:
    return agent_pb2.EnginePhase.Name(sample.phase).removeprefix("ENGINE_PHASE_").lower().replace("_", " ")
