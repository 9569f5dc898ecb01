"""A certificate authority whose certificates may live for a second, which the product's own never do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def request_pem(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def self_signed_pem(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    names, usage = [x509.DNSName(name)], ExtendedKeyUsageOID.SERVER_AUTH
    return _certificate(name, key.public_key(), name, key, timedelta(days=1), names=names, usage=usage)


@dataclass
class ShortLivedAuthority:
    """Speaks as the enrolment room's Authority does; `agent_life` may be changed between certificates."""

    agent_life: timedelta = timedelta(days=7)
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    signed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root_certificates_pem = [
            _certificate("root", self.key.public_key(), "root", self.key, timedelta(days=3650), ca=True)
        ]

    def sign_agent_certificate(self, csr_pem: str, agent_id: str, address: str) -> str:
        self.signed.append(agent_id)
        name = f"{agent_id}.agent.daalu.internal"
        public = x509.load_pem_x509_csr(csr_pem.encode()).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        names = [x509.DNSName(name), x509.IPAddress(ip_address(address))]
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return _certificate(name, public, "root", self.key, self.agent_life, names=names, usage=usage)

    def issue_control_plane_certificate(self) -> tuple[str, str]:
        key, name = new_key(), "control-plane.daalu.internal"
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        names = [x509.DNSName(name)]
        life = timedelta(days=1)
        certificate = _certificate(name, key.public_key(), "root", self.key, life, names=names, usage=usage)
        return certificate, key_pem(key)


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    life: timedelta,
    *,
    names: Sequence[x509.GeneralName] = (),
    usage: x509.ObjectIdentifier | None = None,
    ca: bool = False,
) -> str:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=1))
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
