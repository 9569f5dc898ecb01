"""The host's two keys: WireGuard (X25519) and TLS (EC P-256). Made here; they never leave the host."""

import base64
import binascii
import datetime as dt
import ipaddress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Long enough for a renewal to take place, short enough that a copy is soon of no use.
SELF_SIGNED_LIFETIME = dt.timedelta(days=1)
_CLOCK_ALLOWANCE = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WireguardKey:
    """Both halves in standard base64, as `wg` reads and prints them."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> "WireguardKey":
        return cls._of(x25519.X25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> "WireguardKey":
        """From the private half. ValueError where it is none."""
        return cls._of(x25519.X25519PrivateKey.from_private_bytes(parse_wireguard_key(text)))

    @classmethod
    def _of(cls, key: x25519.X25519PrivateKey) -> "WireguardKey":
        return cls(
            private=base64.b64encode(key.private_bytes_raw()).decode(),
            public=base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        )


def parse_wireguard_key(text: str) -> bytes:
    """The 32 bytes of a key in standard base64. ValueError, which does not repeat the text."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ValueError("not the base64 of 32 bytes")
    return key


@dataclass(frozen=True, slots=True)
class TlsKey:
    """EC P-256."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> "TlsKey":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def parse(cls, pem: bytes) -> "TlsKey":
        """ValueError where it is no unencrypted EC P-256 private key."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError as error:
            raise ValueError("is encrypted") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError("is no EC P-256 key")
        return cls(key)

    @property
    def pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def certificate_request_pem(self) -> str:
        """Names nobody: the authority decides the names, the request proves that the key is held."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "daalu-agent")])
        request = (
            x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        )
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def self_signed_certificate_pem(self, agent_id: str, address: str, now: dt.datetime) -> bytes:
        """What is shown once the authority's certificate has expired: same key, same names."""
        name = agent_dns_name(agent_id)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName(
            [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(address))]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_ALLOWANCE)
            .not_valid_after(now + SELF_SIGNED_LIFETIME)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


def agent_dns_name(agent_id: str) -> str:
    return f"{agent_id}.agent.daalu.internal"
