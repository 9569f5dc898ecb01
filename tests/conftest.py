"""Skips what this machine cannot run, with the reason; where CI is set, a skipped test is a failure."""

import os

import hypothesis
import pytest

from tests.support.machine import missing_for

_IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
_skipped: list[str] = []

# A busy machine takes its time over an example: how long says nothing of the code.
hypothesis.settings.register_profile("daalu", deadline=None)
hypothesis.settings.load_profile("daalu")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers():
        if reason := missing_for(marker.name):
            if _IN_CI:
                pytest.fail(f"this machine must be able to run every test, but {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _IN_CI and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        verdict = "which is a failure here (CI is set)" if _IN_CI else "see the reasons above"
        terminalreporter.write_line(f"{len(_skipped)} tests were skipped, {verdict}")
