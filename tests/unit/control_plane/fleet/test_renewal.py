"""When a certificate is renewed, and what a request for it must be."""

from datetime import timedelta

import pytest
from cryptography import x509

from control_plane.enrolment import key_sha256
from control_plane.fleet.renewal import RenewalRefused, check_request, renew_at, renew_in_s
from tests.support.fleet_authority import ShortLivedAuthority, new_key, request_pem

NAME = "agt-1.agent.daalu.internal"


def _pinned(csr_pem: str) -> bytes:
    return key_sha256(x509.load_pem_x509_csr(csr_pem.encode()))


def test_renewal_is_due_after_a_day_or_at_half_of_a_shorter_life() -> None:
    authority, request = ShortLivedAuthority(), request_pem(new_key(), NAME)
    for life, after in ((timedelta(days=7), timedelta(hours=24)), (timedelta(hours=10), timedelta(hours=5))):
        authority.agent_life = life
        pem = authority.sign_agent_certificate(request, "agt-1", "127.0.0.1")
        begins = x509.load_pem_x509_certificate(pem.encode()).not_valid_before_utc
        assert abs(renew_at(pem) - begins - after) <= timedelta(seconds=1)
        assert renew_in_s(pem, begins + life) == 0.0


def test_a_request_for_the_pinned_key_passes() -> None:
    request = request_pem(new_key(), NAME)
    check_request(request, _pinned(request))


def test_a_request_that_is_not_sound_is_refused_with_the_reason() -> None:
    request = request_pem(new_key(), NAME)
    for bad, reason in (
        (request_pem(new_key(), NAME), "another key"),
        ("rubbish", "cannot be read"),
        ("x" * 20_000, "larger than"),
    ):
        with pytest.raises(RenewalRefused, match=reason):
            check_request(bad, _pinned(request))
