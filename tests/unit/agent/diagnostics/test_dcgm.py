"""What the answers of NVIDIA's diagnostic come to, in every shape that is documented."""

import json

import pytest

from agent.diagnostics.dcgm import MAX_TESTS, NotAReport, in_short, judge, read_report
from agent.diagnostics.finding import Finding, Verdict
from tests.support.dcgmi import of_card, report

ECC = {"error_category": 1, "error_id": 36, "error_severity": 6, "warning": "GPU 1 needs to be  reset."}
PERSISTENCE = {
    "error_category": 8,
    "error_id": 29,
    "error_severity": 5,
    "warning": "Persistence mode for GPU 0 is disabled.",
}


def _judged(text: str, cards: int = 2) -> dict[str, Finding]:
    return dict(judge(read_report(text), cards))


def test_an_answer_of_dcgm_4_is_read_card_by_card() -> None:
    info = ["GPU to Host bandwidth:\t24.5 GB/s"]
    found = _judged(
        report(
            [
                ("Deployment", "software", [{"status": "Pass"}]),
                ("Integration", "pcie", [of_card(0, "Pass", info=info), of_card(1, "Pass")]),
                ("Hardware", "memory", [of_card(0, "Pass"), of_card(1, "Fail", warnings=[ECC])]),
            ]
        )
    )
    assert found["DCGM Deployment: software"].saw == "host: Pass"
    assert found["DCGM Integration: pcie"].saw == (
        "card 0: Pass, GPU to Host bandwidth: 24.5 GB/s; card 1: Pass"
    )
    memory = found["DCGM Hardware: memory"]
    assert (memory.verdict, memory.saw) == (
        Verdict.FAIL,
        "card 0: Pass; card 1: Fail, GPU 1 needs to be reset. (error 36)",
    )
    assert memory.advice
    assert in_short(found.values()) == "1 failed, 2 passed"


@pytest.mark.parametrize("card", [{"gpu_id": "1"}, {"gpu_ids": "1"}])
def test_an_answer_of_dcgm_3_is_read_too(card: dict[str, str]) -> None:
    result = card | {"status": "Warn", "warnings": "Thermal violations totaling 3 seconds", "info": "hot"}
    found = _judged(report([("Stress", "Targeted Power", [result])], version=3))
    assert found["DCGM Stress: Targeted Power"] == Finding(
        Verdict.WARN,
        "card 1: Warn, Thermal violations totaling 3 seconds, hot",
        "see how the host is set up: this says nothing bad of the card itself",
    )


def test_the_oldest_statuses_are_in_capitals_and_warnings_are_plain_text() -> None:
    result = {"gpu_ids": "0,1", "status": "FAIL", "warnings": ["a page is pending", "another"]}
    (finding,) = _judged(report([("Hardware", "Memory", [result])], version=3)).values()
    assert (finding.verdict, finding.saw) == (
        Verdict.FAIL,
        "card 0,1: FAIL, a page is pending, another",
    )


@pytest.mark.parametrize("status", ["Skip", "SKIPPED", "Not Run", "Something New", "", None, 7])
def test_only_what_passed_is_a_pass(status: object) -> None:
    (finding,) = _judged(report([("Hardware", "diagnostic", [{"status": status}])])).values()
    assert finding.verdict is Verdict.NOT_AVAILABLE


def test_one_card_that_passed_does_not_hide_one_that_was_skipped_or_failed() -> None:
    results = [of_card(0, "Pass"), of_card(1, "Skip")]
    (finding,) = _judged(report([("Hardware", "memory", results)])).values()
    assert (finding.verdict, finding.saw) == (Verdict.WARN, "card 0: Pass; card 1: Skip")
    assert "not every card was tested" in finding.advice
    (finding,) = _judged(report([("Hardware", "memory", [*results, of_card(2, "Fail")])])).values()
    assert finding.verdict is Verdict.FAIL


def test_a_failure_of_the_hosts_settings_alone_is_no_broken_card() -> None:
    setting = of_card(0, "Fail", warnings=[PERSISTENCE])
    (finding,) = _judged(report([("Deployment", "software", [setting])])).values()
    assert (finding.verdict, "how the host is set up" in finding.advice) == (Verdict.WARN, True)
    both = of_card(0, "Fail", warnings=[PERSISTENCE, ECC])
    (finding,) = _judged(report([("Deployment", "software", [both])])).values()
    assert finding.verdict is Verdict.FAIL
    (finding,) = _judged(report([("Deployment", "software", [of_card(0, "Fail")])])).values()
    assert finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["nccl_tests", "NCCL Tests"])
def test_collective_communication_says_nothing_of_one_card_alone(name: str) -> None:
    text = report([("Integration", name, [of_card(0, "Fail")])])
    (alone,) = _judged(text, cards=1).values()
    assert alone.verdict is Verdict.NOT_AVAILABLE
    (of_two,) = _judged(text, cards=2).values()
    assert of_two.verdict is Verdict.FAIL


def test_lines_around_the_json_are_no_hindrance() -> None:
    text = report([("Deployment", "software", [{"status": "Pass"}])])
    assert _judged(f"Warning: persistence daemon is old\n{text}\nSuccessfully ran diagnostic.\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it said nothing"),
        ("Error: unable to establish a connection to the specified host: localhost", "unable to establish"),
        ("{", "{"),
        ("} {", "} {"),
        ("{}", "{}"),
        ('{"DCGM Diagnostic": []}', "DCGM Diagnostic"),
        ('{"DCGM Diagnostic": {"test_categories": null}}', "no test at all"),
        ('{"DCGM Diagnostic": {"test_categories": [3, {"tests": [4]}, {"tests": "x"}]}}', "no test at all"),
        (
            '{"DCGM GPU Diagnostic": {"runtime_error": "Unable to run on unsupported GPU 0"}}',
            "unsupported GPU",
        ),
        ('{"DCGM Diagnostic": ' + "[" * 100_000, "DCGM Diagnostic"),
        ('{"DCGM Diagnostic": ' + "[" * 100_000 + "}", "DCGM Diagnostic"),
    ],
)
def test_what_is_no_report_is_told_from_a_test_that_failed(text: str, words: str) -> None:
    with pytest.raises(NotAReport, match=words):
        read_report(text)


def test_a_report_without_end_and_values_of_odd_kinds_are_cut_to_size() -> None:
    odd = {
        "status": "Fail",
        "entity_id": [1],
        "warnings": [{"warning": {"a": 1}}, 3, True],
        "info": "i" * 5_000,
    }
    tests = [("Hardware", f"test {number}", [odd] * 500) for number in range(200)]
    found = read_report(report(tests))
    assert len(found) == MAX_TESTS
    assert len(found[0].results) == 64
    assert len(found[0].results[0].info[0]) == 300


def test_the_samples_are_json_of_the_documented_roots() -> None:
    """The shapes above are made by hand from the manual; this holds the maker to them."""
    new = json.loads(report([("Hardware", "memory", [of_card(0, "Pass")])]))
    assert set(new) == {"DCGM Diagnostic", "entity_groups", "metadata"}
    old = json.loads(report([("Hardware", "memory", [{"gpu_id": "0", "status": "Pass"}])], version=3))
    assert set(old) == {"DCGM GPU Diagnostic"}
