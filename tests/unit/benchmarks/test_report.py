"""What a measurement's report says of a value, and of one that could not be had."""

import json

from benchmarks.report import TARGETS, Report


def test_every_key_is_there_and_what_was_not_measured_is_null_with_its_reason() -> None:
    report = Report({"unary_vs_nginx": 0.2}, {"tunnel_ratio": "no tunnel here"})
    printed = json.loads(report.as_json())
    assert printed.keys() - TARGETS.keys() == {"reasons", "raw"}
    assert (printed["unary_vs_nginx"], printed["tunnel_ratio"]) == (0.2, None)
    assert printed["reasons"] == {"tunnel_ratio": "no tunnel here"}
    assert "not measured: no tunnel here" in report.as_table()


def test_a_value_is_judged_in_the_direction_in_which_it_is_good() -> None:
    report = Report({"unary_vs_nginx": 0.2, "chunk_cpu_vs_nginx": 1.0, "added_p99_ms": 5.0})
    [unary, chunk, p99] = [
        line
        for line in report.as_table().splitlines()
        if TARGETS["unary_vs_nginx"].words in line
        or TARGETS["chunk_cpu_vs_nginx"].words in line
        or TARGETS["added_p99_ms"].words in line
    ]
    assert unary.endswith("| met |")
    assert chunk.endswith("| aim met |")
    assert p99.endswith("| **missed** |")
