"""Whether a newly issued certificate may be put in use: pure."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.rpc.refusals import CertificateRefused

# Two only during a rollover.
ROOTS_MAX = 2
CLOCK_ALLOWANCE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Expected:
    public_key: PublicKeyTypes
    dns_name: str
    address: str
    # The roots trusted so far, PEM.
    trusted_roots_pem: bytes


def check_issued(
    certificate_pem: str, roots_pem: Sequence[str], expected: Expected, now: dt.datetime
) -> None:
    """Raises CertificateRefused unless it is this host's, good now, and of an authority known already.

    A new root may come in only beside one that was trusted before, so no single message replaces the
    authority.
    """
    certificate = _certificate(certificate_pem)
    roots = [_certificate(pem) for pem in roots_pem]
    if not 1 <= len(roots) <= ROOTS_MAX:
        raise CertificateRefused(
            f"{len(roots)} authority roots came with the certificate: 1 or {ROOTS_MAX} can"
        )
    trusted = x509.load_pem_x509_certificates(expected.trusted_roots_pem)
    if not any(root in trusted for root in roots):
        raise CertificateRefused("none of the authority roots sent is one that this host trusts already")
    if not any(_signed_by(certificate, root) for root in roots):
        raise CertificateRefused("none of the authority roots sent signed the certificate")
    if certificate.public_key() != expected.public_key:
        raise CertificateRefused("the certificate has another key than this host")
    _check_names(certificate, expected)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins - CLOCK_ALLOWANCE <= now < ends:
        raise CertificateRefused(
            f"the certificate is good from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, and this "
            f"host's clock says {now:%Y-%m-%d %H:%M}: set the clock that is wrong"
        )


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise CertificateRefused("what was sent is no certificate in PEM") from error


def _check_names(certificate: x509.Certificate, expected: Expected) -> None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise CertificateRefused("the certificate lacks names or uses") from error
    if expected.dns_name not in names.get_values_for_type(x509.DNSName):
        raise CertificateRefused(f"the certificate does not carry the name {expected.dns_name}")
    if ipaddress.ip_address(expected.address) not in names.get_values_for_type(x509.IPAddress):
        raise CertificateRefused(f"the certificate does not carry the address {expected.address}")
    if ExtendedKeyUsageOID.SERVER_AUTH not in uses:
        raise CertificateRefused("the certificate is not for a server")


def _signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True
