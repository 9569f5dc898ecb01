"""One call and the decision behind it, printed for people."""

from typing import Any

from control_plane.cli.show import milliseconds, moment, plain, print_pairs, usd


def print_call(call: dict[str, Any]) -> None:
    streamed = "streamed" if call["streamed"] else "not streamed"
    print_pairs(
        [
            ("call", call["id"]),
            ("outcome", _outcome(call)),
            ("tenant", f"{call['tenant_name']} ({call['tenant_id']})"),
            ("key", f"{call['key_name']} ({call['key_hint']}…, {call['purpose']})"),
            ("asked for", f"{call['model']} at {call['path']}, {streamed}"),
            ("served", _served(call)),
            ("tokens", f"{call['prompt_tokens']} in, {call['completion_tokens']} out"),
            ("money", _money(call)),
            ("started", moment(call["started_unix_ms"])),
            (
                "first token",
                f"after {milliseconds(call['first_token_ms'])}" if call["first_token_ms"] else None,
            ),
            ("duration", milliseconds(call["duration_ms"]) if call["duration_ms"] is not None else None),
        ]
    )
    decision = call["decision"]
    _print_section("candidates, in order", map(_candidate, decision.get("candidates", [])))
    _print_section("left out", map(_left_out, decision.get("left_out", [])))
    if denials := decision.get("denials"):
        _print_section("would not take it", map(_denial, denials))
    _print_section("attempts", map(_attempt, call["attempts"]))
    if unlisted := decision.get("unlisted"):
        print(f"\n{unlisted} more cards were looked at and are not listed")


def _print_section(title: str, lines: Any) -> None:
    print(f"\n{title}")
    for line in list(lines) or ["none"]:
        print(f"  {plain(line)}")


def _outcome(call: dict[str, Any]) -> str:
    facts = [f"HTTP {call['http_status']}"] if call["http_status"] else []
    facts += [call["error_code"]] if call["error_code"] else []
    words = call["outcome"].replace("_", " ")
    return f"{words} ({', '.join(facts)})" if facts else str(words)


def _money(call: dict[str, Any]) -> str | None:
    if call["charge_pico_usd"] is None:
        return None
    if call["tier"] == "own":
        return "own card: nothing charged"
    return f"{usd(call['charge_pico_usd'])} charged, {usd(call['credit_pico_usd'])} of it credited"


def _served(call: dict[str, Any]) -> str:
    if call["vendor"] is not None:
        return f"tier {call['tier']}, vendor {call['vendor']}"
    if call["agent_id"] is None:
        return "nowhere" if call["tier"] is None else f"tier {call['tier']}"
    pool = f", pool {call['pool_name']}" if call["pool_name"] else ""
    return f"tier {call['tier']}{pool}, agent {call['agent_name']} ({call['agent_id']})"


def _candidate(candidate: dict[str, Any]) -> str:
    if "vendor" in candidate:
        return f"{candidate['tier']}: {candidate['vendor']}"
    pool = f" in pool {candidate['pool']}" if "pool" in candidate else ""
    return (
        f"{candidate['tier']}: {candidate['agent']} ({candidate['agent_id']}){pool},"
        f" load {candidate['load']}, {candidate['liveness']}"
    )


def _denial(denial: dict[str, Any]) -> str:
    return f"{denial['tier']}: {denial['name']}: {denial['words']} [{denial['code']}]"


def _left_out(left: dict[str, Any]) -> str:
    what = f"{left['agent']} ({left['agent_id']})" if left.get("agent_id") else "the whole tier"
    if left.get("pool"):
        what = f"pool {left['pool']}" + (f", {what}" if left.get("agent_id") else "")
    return f"{left['tier']}: {what}: {left['words']} [{left['code']}]"


def _attempt(attempt: dict[str, Any]) -> str:
    ended = attempt["ended_unix_ms"]
    took = milliseconds(ended - attempt["started_unix_ms"]) if ended else "not ended"
    error = f": {attempt['error']}" if attempt["error"] else ""
    tokens = f"{attempt['prompt_tokens']} + {attempt['completion_tokens']} tokens"
    return (
        f"{attempt['number']}. {attempt['tier']}: {_where(attempt)},"
        f" {attempt['outcome'].replace('_', ' ')}{error}, {tokens}, {took}"
    )


def _where(attempt: dict[str, Any]) -> str:
    return f"{attempt['agent_name']} ({attempt['agent_id']})" if attempt["agent_id"] else "a vendor"
