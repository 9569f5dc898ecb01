"""Lines of our own come out of Prometheus' own readers as they went in."""

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from control_plane.metrics.gauges import Gauge, labelled, text_of

_SERIES = {
    "plain": 1.5,
    'a "quoted" one': 0.0,
    "back\\slash and line\nbreak": -3.0,
    "a backslash before an n: \\n": 1e21,
    "ümlaut, comma, {brace}": math.inf,
    "below everything": -math.inf,
}


def _text() -> str:
    gauge = Gauge("daalu_tried", "What is tried.")
    for name, value in _SERIES.items():
        gauge.add(labelled({"name": name}), value)
    return text_of([gauge]).decode()


@pytest.mark.parametrize("openmetrics", [False, True])
def test_labels_and_numbers_of_any_kind_are_read_back_as_they_were(openmetrics: bool) -> None:
    text = _text()
    [family] = read_openmetrics(f"{text}# EOF\n") if openmetrics else read_text(text)  # type: ignore[no-untyped-call]
    assert (family.name, family.type, family.documentation) == ("daalu_tried", "gauge", "What is tried.")
    assert {sample.labels["name"]: sample.value for sample in family.samples} == _SERIES


def test_what_is_no_number_says_so_and_what_is_true_is_one() -> None:
    gauge = Gauge("daalu_tried", "What is tried.")
    gauge.add(labelled({"name": "nan"}), math.nan)
    gauge.add(labelled({"name": "true"}), True)
    [family] = read_text(text_of([gauge]).decode())
    nan, true = (sample.value for sample in family.samples)
    assert math.isnan(nan)
    assert true == 1
