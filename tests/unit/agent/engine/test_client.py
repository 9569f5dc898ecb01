"""Reading vLLM's figures."""

from agent.engine.client import Figures, read_figures

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny-random"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny-random"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny-random"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny-random",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny-random"} 0.125
process_resident_memory_bytes 1.0e+09
"""


def test_figures_are_summed_over_the_engines_cores() -> None:
    assert read_figures(METRICS) == Figures(running_calls=5, waiting_calls=1, kv_cache_percent=12.5)


def test_a_missing_cache_reading_is_not_a_zero() -> None:
    assert read_figures("").kv_cache_percent is None
