"""Which certificates may be put in use."""

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509

from agent.rpc.issued import Expected, check_issued
from agent.rpc.refusals import CertificateRefused
from tests.support.fleet_authority import ShortLivedAuthority, new_key, request_pem

NAME, ADDRESS = "agt_1.agent.daalu.internal", "fd00::2"
KEY = new_key()
AUTHORITY = ShortLivedAuthority()
ROOTS = AUTHORITY.root_certificates_pem
ISSUED = AUTHORITY.sign_agent_certificate(request_pem(KEY, "daalu-agent"), "agt_1", ADDRESS)
EXPECTED = Expected(KEY.public_key(), NAME, ADDRESS, ROOTS[0].encode())
NOW = dt.datetime.now(dt.UTC)


def test_this_hosts_own_certificate_from_the_authority_it_trusts_is_good() -> None:
    check_issued(ISSUED, ROOTS, EXPECTED, NOW)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (replace(EXPECTED, public_key=new_key().public_key()), "another key"),
        (replace(EXPECTED, dns_name="agt_2.agent.daalu.internal"), "the name agt_2"),
        (replace(EXPECTED, address="fd00::3"), "the address fd00::3"),
        (
            replace(EXPECTED, trusted_roots_pem=ShortLivedAuthority().root_certificates_pem[0].encode()),
            "trusts already",
        ),
    ],
)
def test_a_certificate_that_is_not_this_hosts_is_refused(expected: Expected, words: str) -> None:
    with pytest.raises(CertificateRefused, match=words):
        check_issued(ISSUED, ROOTS, expected, NOW)


@pytest.mark.parametrize("off", [dt.timedelta(days=8), dt.timedelta(days=-1)])
def test_a_certificate_that_is_not_good_now_names_both_clocks(off: dt.timedelta) -> None:
    with pytest.raises(CertificateRefused, match="set the clock that is wrong"):
        check_issued(ISSUED, ROOTS, EXPECTED, NOW + off)


@pytest.mark.parametrize("roots", [[], ROOTS * 3, ["no certificate"]])
def test_roots_that_cannot_be_are_refused(roots: list[str]) -> None:
    with pytest.raises(CertificateRefused):
        check_issued(ISSUED, roots, EXPECTED, NOW)


def test_a_client_certificate_is_not_put_in_use() -> None:
    issued, _ = AUTHORITY.issue_control_plane_certificate()
    key = x509.load_pem_x509_certificate(issued.encode()).public_key()
    with pytest.raises(CertificateRefused, match="does not carry the name"):
        check_issued(issued, ROOTS, replace(EXPECTED, public_key=key), NOW)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(CertificateRefused, match="no certificate in PEM"):
        check_issued("-----BEGIN NOTHING-----", ROOTS, EXPECTED, NOW)
