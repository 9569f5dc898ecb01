"""What a shown certificate tells of the host that showed it."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.enrolment import key_sha256
from control_plane.fleet.leaf import Verdict, judge
from tests.support.fleet_authority import ShortLivedAuthority, new_key, request_pem, self_signed_pem

NAME = "agt-1.agent.daalu.internal"


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def _pinned(csr_pem: str) -> bytes:
    return key_sha256(x509.load_pem_x509_csr(csr_pem.encode()))


def test_a_valid_certificate_of_the_authority_is_good_until_it_expires() -> None:
    request = request_pem(new_key(), NAME)
    shown = _der(ShortLivedAuthority().sign_agent_certificate(request, "agt-1", "127.0.0.1"))
    now = datetime.now(UTC)
    assert judge(shown, _pinned(request), now).verdict is Verdict.GOOD
    assert judge(shown, _pinned(request), now + timedelta(days=8)).verdict is Verdict.EXPIRED


def test_a_self_signed_certificate_with_the_pinned_key_stands_for_an_expired_one() -> None:
    key = new_key()
    shown = _der(self_signed_pem(key, NAME))
    assert judge(shown, _pinned(request_pem(key, NAME)), datetime.now(UTC)).verdict is Verdict.EXPIRED


def test_another_key_is_foreign_whatever_the_certificate_says() -> None:
    shown = _der(self_signed_pem(new_key(), NAME))
    pinned = _pinned(request_pem(new_key(), NAME))
    assert judge(shown, pinned, datetime.now(UTC)).verdict is Verdict.FOREIGN
