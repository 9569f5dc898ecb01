import shutil
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from control_plane.enrolment import Authority, AuthorityUnusable, BadCertificateRequest, key_sha256
from tests.support.enrolment import certificate_request

AGENT = "agt-01234567890123456789012345"
ADDRESS = "fd00::7"


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _signed(authority: Authority, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    text = authority.sign_agent_certificate(certificate_request(key), AGENT, ADDRESS)
    return x509.load_pem_x509_certificate(text.encode())


def _store_of(authority: Authority) -> verification.Store:
    return verification.Store(
        [x509.load_pem_x509_certificate(text.encode()) for text in authority.root_certificates_pem]
    )


def _uses(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_an_agents_certificate_names_it_and_its_address_and_nothing_else(authority: Authority) -> None:
    key = _new_key()
    certificate = _signed(authority, key)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(f"{AGENT}.agent.daalu.internal"), x509.IPAddress(ip_address(ADDRESS))]
    assert certificate.subject.rfc4514_string() == f"CN={AGENT}.agent.daalu.internal"
    assert _uses(certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.public_key() == key.public_key()


def test_an_agents_certificate_is_good_for_seven_days_and_backdated_by_five_minutes(tmp_path: Path) -> None:
    now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    certificate = _signed(Authority.create(tmp_path, lambda: now), _new_key())
    assert certificate.not_valid_before_utc == now - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == now + timedelta(days=7)


def test_an_agents_certificate_is_accepted_by_who_trusts_the_root(authority: Authority) -> None:
    verifier = (
        verification.PolicyBuilder()
        .store(_store_of(authority))
        .build_server_verifier(x509.DNSName(f"{AGENT}.agent.daalu.internal"))
    )
    assert len(verifier.verify(_signed(authority, _new_key()), [])) == 2


def test_the_control_planes_certificate_is_a_clients_alone(authority: Authority) -> None:
    certificate_pem, key_pem = authority.issue_control_plane_certificate()
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    assert _uses(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    verifier = verification.PolicyBuilder().store(_store_of(authority)).build_client_verifier()
    assert verifier.verify(certificate, []).subjects == [x509.DNSName("control-plane.daalu.internal")]
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=1)
    assert "PRIVATE KEY" in key_pem


def test_an_agents_certificate_does_not_pass_as_a_client(authority: Authority) -> None:
    verifier = verification.PolicyBuilder().store(_store_of(authority)).build_client_verifier()
    with pytest.raises(verification.VerificationError):
        verifier.verify(_signed(authority, _new_key()), [])


def test_a_request_with_a_bad_signature_is_refused(authority: Authority) -> None:
    request = x509.load_pem_x509_csr(certificate_request(_new_key()).encode())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(BadCertificateRequest, match="not signed with its own key"):
        authority.sign_agent_certificate(broken, AGENT, ADDRESS)


def test_a_request_for_another_kind_of_key_is_refused(authority: Authority) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    ):
        request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        with pytest.raises(BadCertificateRequest, match="P-256"):
            authority.sign_agent_certificate(request, AGENT, ADDRESS)


@pytest.mark.parametrize("text", ["", "no request", "-----BEGIN CERTIFICATE REQUEST-----\n!\n"])
def test_what_is_no_request_is_refused(authority: Authority, text: str) -> None:
    with pytest.raises(BadCertificateRequest):
        authority.sign_agent_certificate(text, AGENT, ADDRESS)


def test_creating_again_changes_nothing(tmp_path: Path) -> None:
    first = Authority.create(tmp_path)
    key = (tmp_path / "root.key").read_bytes()
    assert Authority.create(tmp_path).root_certificates_pem == first.root_certificates_pem
    assert (tmp_path / "root.key").read_bytes() == key
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_creation_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    Authority.create(tmp_path)
    (tmp_path / "root.pem").unlink()
    authority = Authority.create(tmp_path)
    assert len(authority.root_certificates_pem) == 1


def test_during_a_rollover_both_roots_are_trusted(tmp_path: Path) -> None:
    old = Authority.create(tmp_path / "old")
    Authority.create(tmp_path / "new")
    shutil.copy(tmp_path / "old" / "root.pem", tmp_path / "new" / "previous.pem")
    new = Authority.load(tmp_path / "new")
    assert new.root_certificates_pem[1:] == old.root_certificates_pem
    verifier = (
        verification.PolicyBuilder()
        .store(_store_of(new))
        .build_server_verifier(x509.DNSName(f"{AGENT}.agent.daalu.internal"))
    )
    for signer in (old, new):
        assert verifier.verify(_signed(signer, _new_key()), [])


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AuthorityUnusable, match=r"root\.key is not there"):
        Authority.load(tmp_path)
    Authority.create(tmp_path)
    (tmp_path / "root.pem").write_text("nothing")
    with pytest.raises(AuthorityUnusable, match=r"root\.pem is not a certificate"):
        Authority.load(tmp_path)


def test_key_and_certificate_must_belong_together(tmp_path: Path) -> None:
    Authority.create(tmp_path / "a")
    Authority.create(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "root.pem", tmp_path / "a" / "root.pem")
    with pytest.raises(AuthorityUnusable, match="do not belong together"):
        Authority.load(tmp_path / "a")


def test_a_lost_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    Authority.create(tmp_path)
    (tmp_path / "root.key").unlink()
    with pytest.raises(AuthorityUnusable, match="restore it from a backup"):
        Authority.create(tmp_path)


def test_a_key_has_one_fingerprint_in_request_and_certificate(authority: Authority) -> None:
    key = _new_key()
    request = x509.load_pem_x509_csr(certificate_request(key).encode())
    assert key_sha256(request) == key_sha256(_signed(authority, key))
    assert key_sha256(request) != key_sha256(_signed(authority, _new_key()))
