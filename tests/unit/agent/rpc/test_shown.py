"""What is shown in handshakes, as certificates come and go."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509

from agent.identity import State
from agent.rpc.shown import ShownCredentials
from tests.support.rpc import Authority, enrolled_state

DAY = dt.timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path) -> State:
    return enrolled_state(tmp_path / "state", Authority())


def test_the_authoritys_certificate_is_shown_until_it_expires(state: State, clock: Clock) -> None:
    shown = ShownCredentials(state, clock)
    before = shown.current
    clock.now = before.expires - dt.timedelta(seconds=1)
    assert shown.current is before
    assert not shown.expired()
    clock.now = before.expires
    assert shown.expired()


def test_a_self_signed_certificate_stays_the_same_and_is_replaced_before_it_expires(
    state: State, clock: Clock
) -> None:
    shown = ShownCredentials(state, clock)
    clock.now += 8 * DAY
    first = shown.current.certificate_pem
    clock.now += DAY / 4
    assert shown.current.certificate_pem == first
    clock.now += DAY / 2
    second = x509.load_pem_x509_certificate(shown.current.certificate_pem)
    assert second.not_valid_after_utc > x509.load_pem_x509_certificate(first).not_valid_after_utc


def test_a_state_that_cannot_be_read_is_logged_and_what_was_shown_goes_on(
    state: State, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    shown = ShownCredentials(state, clock)
    before = shown.current
    (state.directory / "certificate.pem").unlink()
    clock.now += 8 * DAY
    assert shown.current is before
    assert "certificate.pem" in caplog.text
