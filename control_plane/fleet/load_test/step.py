"""The figures of one step, as vLLM's client gives them. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

MOST_WORDS = 300


class UnreadableFigures(ValueError):
    """The client said something that is no step's figures."""


@dataclass(frozen=True, slots=True)
class StepFigures:
    concurrency: int
    completed: int
    failed: int
    error: str | None
    duration_s: float
    requests_per_s: float
    output_tokens_per_s: float
    ttft_p50_ms: float
    ttft_p90_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p90_ms: float
    itl_p99_ms: float

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Raises UnreadableFigures."""
        try:
            error = said["error"]
            return cls(
                concurrency=int(said["max_concurrency"]),
                completed=int(said["completed"]),
                failed=int(said["failed"]),
                error=None if error is None else str(error)[-MOST_WORDS:].replace("\0", ""),
                duration_s=_measure(said["duration"]),
                requests_per_s=_measure(said["request_throughput"]),
                output_tokens_per_s=_measure(said["output_throughput"]),
                ttft_p50_ms=_measure(said["p50_ttft_ms"]),
                ttft_p90_ms=_measure(said["p90_ttft_ms"]),
                ttft_p99_ms=_measure(said["p99_ttft_ms"]),
                itl_p50_ms=_measure(said["p50_itl_ms"]),
                itl_p90_ms=_measure(said["p90_itl_ms"]),
                itl_p99_ms=_measure(said["p99_itl_ms"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UnreadableFigures(f"the load client's figures cannot be read: {error!r}") from error


FIGURES = tuple(each.name for each in fields(StepFigures))


def _measure(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no measure")
    return number
