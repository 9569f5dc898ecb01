"""What `daalu agents watch` follows of an agent. Pure: what REST answered in, a state and its line out."""

from typing import Any


def watched(agent: dict[str, Any]) -> dict[str, Any]:
    """What is told when it changes; figures that always move are left out."""
    engine = agent["engine"]
    return {
        "id": agent["id"],
        "name": agent["name"],
        "liveness": agent["liveness"],
        "health": agent["health"],
        "wanted_model_id": agent["desired_model_id"],
        "engine": engine["phase"] if engine else None,
        "progress_percent": engine["progress_percent"] if engine else None,
        "detail": engine["detail"] or None if engine else None,
        "drained": agent["drained"],
        "pool_paused": agent["pool_paused"],
        "problems": agent["problems"],
    }


def is_reached(state: dict[str, Any], *, ready: bool) -> bool:
    """Whether it is live and, where that is asked, its engine ready."""
    return bool(state["liveness"] == "live" and (not ready or state["engine"] == "ready"))


def watch_line(state: dict[str, Any]) -> str:
    parts = [state["liveness"], f"cards {state['health']}"]
    if state["engine"] is not None and (state["wanted_model_id"] or state["engine"] != "stopped"):
        phase = state["engine"].replace("_", " ")
        loading = f" {state['progress_percent']} %" if state["engine"] in ("starting", "loading") else ""
        parts.append(f"{state['wanted_model_id'] or 'engine'} {phase}{loading}")
        parts += [state["detail"]] if state["detail"] else []
    parts += ["drained"] if state["drained"] else []
    parts += ["pool work paused"] if state["pool_paused"] else []
    parts += [f"{part}: {words}" for part, words in sorted(state["problems"].items())]
    return "; ".join(parts)
