"""What a run has measured, beside what it must reach."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    words: str
    must: float
    aim: float
    # Whether more is better.
    more: bool = False


# By the keys of --json.
TARGETS: Mapping[str, Target] = {
    "unary_vs_nginx": Target("unary calls/s on one core, to nginx", 0.15, 0.40, more=True),
    "unary_vs_vllm_router": Target("… to vllm-router", 0.8, 2, more=True),
    "unary_vs_litellm": Target("… to LiteLLM with keys and limits", 60, 200, more=True),
    "chunk_cpu_vs_nginx": Target("CPU per streamed chunk, to nginx", 2.0, 1.3),
    "added_p50_ms": Target("added p50, one connection, less two commits, ms", 0.5, 0.25),
    "added_p99_ms": Target("added p99, one connection, ms", 4, 2),
    "ttft_added_p50_ms": Target("added time to first token p50, 64 streams, ms", 5, 2),
    "ledger_calls_per_s": Target("ledger alone, calls/s", 5_000, 15_000, more=True),
    "plan_us_10k": Target("plan over 10,000 agents, µs", 200, 20),
    "idle_stream_kib": Target("memory per idle stream, KiB", 64, 16),
    "cpu_per_call_two_processes": Target("CPU per call, two processes to one", 1.1, 1.02),
    "tunnel_ratio": Target("HTTP through the tunnel, to WireGuard itself", 0.9, 0.98, more=True),
    "fleet_core_share": Target("1,000 agents, a sample every 5 s: share of a core", 0.5, 0.2),
    "fleet_memory_mb": Target("… memory, MB", 400, 300),
    "fleet_samples_lost": Target("… samples lost", 0, 0),
    "fleet_page_ms": Target("… CPU of the dearest page, ms", 100, 20),
    "console_cpu_ratio": Target("CPU per call, 50 open live pages to none", 1.05, 1.01),
}


@dataclass
class Report:
    """Every key of TARGETS has a value in the end, or a reason why not."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    # Absolute figures: true of this machine at this hour only.
    raw: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> str:
        values = {key: _rounded(self.values.get(key)) for key in TARGETS}
        raw = {key: _rounded(value) for key, value in self.raw.items()}
        return json.dumps({**values, "reasons": self.reasons, "raw": raw}, ensure_ascii=False)

    def as_table(self) -> str:
        lines = ["| | measured | must | aim | |", "|---|--:|--:|--:|---|"]
        for key, target in TARGETS.items():
            value = self.values.get(key)
            verdict = self._verdict(key, target)
            shown = "-" if value is None else f"{value:,.3g}" if value < 1_000 else f"{value:,.0f}"
            lines.append(f"| {target.words} | {shown} | {target.must:,g} | {target.aim:,g} | {verdict} |")
        lines += ["", "Absolute figures:", ""]
        lines += [f"- {name}: {_rounded(value):,}" for name, value in self.raw.items()]
        return "\n".join(lines)

    def _verdict(self, key: str, target: Target) -> str:
        value = self.values.get(key)
        if value is None:
            return f"not measured: {self.reasons.get(key, 'no reason was given')}"
        reached = [
            value >= wanted if target.more else value <= wanted for wanted in (target.must, target.aim)
        ]
        return "aim met" if reached[1] else "met" if reached[0] else "**missed**"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
