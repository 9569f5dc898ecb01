"""How often samples come."""

import pytest

from agent.rpc.telemetry import interval_s


@pytest.mark.parametrize(
    ("requested_ms", "seconds"),
    [(0, 2.0), (1, 0.5), (500, 0.5), (1_234, 1.234), (5_000, 5.0), (2**32 - 1, 5.0)],
)
def test_the_interval_stays_within_the_wires_limits(requested_ms: int, seconds: float) -> None:
    assert interval_s(requested_ms) == seconds
