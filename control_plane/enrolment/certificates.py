"""The kinds of certificates there are, as pure functions of keys, names and the time."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# For clocks that are behind.
BACKDATED = timedelta(minutes=5)
ROOT_LIFETIME = timedelta(days=3650)
AGENT_LIFETIME = timedelta(days=7)
CONTROL_PLANE_LIFETIME = timedelta(days=1)
# What HTTPS shows is pinned by its key, so its end brings no security; a short life would only bring outages.
SERVER_LIFETIME = timedelta(days=3650)

CONTROL_PLANE_NAME = "control-plane.daalu.internal"


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate authority's key and its name."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name


@dataclass(frozen=True, slots=True)
class Leaf:
    """Whom a certificate names, for which use and how long. The first name is also its common name."""

    names: Sequence[x509.GeneralName]
    use: x509.ObjectIdentifier
    lifetime: timedelta


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def agent_dns_name(agent_id: str) -> str:
    return f"{agent_id}.agent.daalu.internal"


def agent_leaf(agent_id: str, address: str) -> Leaf:
    """For an agent's gRPC server at its tunnel address. ValueError where `address` is none."""
    names = [x509.DNSName(agent_dns_name(agent_id)), x509.IPAddress(ipaddress.ip_address(address))]
    return Leaf(names, ExtendedKeyUsageOID.SERVER_AUTH, AGENT_LIFETIME)


def control_plane_leaf() -> Leaf:
    """For the control plane as the agents' client."""
    return Leaf([x509.DNSName(CONTROL_PLANE_NAME)], ExtendedKeyUsageOID.CLIENT_AUTH, CONTROL_PLANE_LIFETIME)


def server_leaf(hosts: Sequence[str]) -> Leaf:
    """For HTTPS at these host names and addresses, of which there is at least one."""
    return Leaf([_general_name(host) for host in hosts], ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFETIME)


def root_certificate(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    """Signs itself; may sign leaves only."""
    subject = _subject(name)
    return (
        _builder(subject, subject, key.public_key(), key.public_key(), now, ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def leaf_certificate(
    leaf: Leaf, public_key: ec.EllipticCurvePublicKey, signer: Signer, now: datetime
) -> x509.Certificate:
    return (
        _leaf_builder(leaf, public_key, signer.name, signer.key.public_key(), now)
        .sign(signer.key, hashes.SHA256())
    )  # fmt: skip


def self_signed_certificate(leaf: Leaf, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """A leaf that vouches for itself, for those who pin its key or are given it as their trust."""
    subject = _subject(_common_name(leaf))
    public_key = key.public_key()
    return _leaf_builder(leaf, public_key, subject, public_key, now).sign(key, hashes.SHA256())


def _leaf_builder(
    leaf: Leaf,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
) -> x509.CertificateBuilder:
    return (
        _builder(_subject(_common_name(leaf)), issuer, public_key, issuer_key, now, leaf.lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([leaf.use]), critical=False)
        .add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    # 64 characters is the format's limit; the names that count are the alternative ones.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _common_name(leaf: Leaf) -> str:
    return str(leaf.names[0].value)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
