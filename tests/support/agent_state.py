"""An enrolled agent's state directory, made without a control plane."""

import datetime as dt
import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.identity import Identity, State, TunnelSettings, WireguardKey

AGENT_ADDRESS = "fd77:1:2:3::2"
HUB_ADDRESS = "fd77:1:2:3::1"


def tunnel_settings(**changes: object) -> TunnelSettings:
    settings = TunnelSettings(
        agent_address=AGENT_ADDRESS,
        hub_address=HUB_ADDRESS,
        network="fd77:1:2::/48",
        hub_public_key=WireguardKey.generate().public,
        hub_endpoint="127.0.0.1:51820",
        mtu_bytes=1280,
        keepalive_s=25,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def identity(tunnel: TunnelSettings | None) -> Identity:
    return Identity(
        agent_id="agt-0123",
        agent_name="host-1",
        tenant_name="acme",
        control_plane_url="https://control.example:8443",
        control_plane_key_sha256="ab" * 32,
        rpc_port=7443,
        engine_port=7400,
        tunnel=tunnel,
    )


@dataclass(frozen=True, slots=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate

    @classmethod
    def create(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("a root for tests")
        root = _builder(name, name, key.public_key(), dt.timedelta(days=1)).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, root.sign(key, hashes.SHA256()))

    @property
    def root_pem(self) -> str:
        return self.root.public_bytes(serialization.Encoding.PEM).decode()

    def sign(
        self,
        key: ec.EllipticCurvePublicKey,
        address: str = AGENT_ADDRESS,
        lifetime: dt.timedelta | None = None,
    ) -> str:
        builder = _builder(self.root.subject, _name("agt-0123"), key, lifetime or dt.timedelta(days=7))
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = builder.add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign_request(self, request_pem: str) -> str:
        key = x509.load_pem_x509_csr(request_pem.encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return self.sign(key)


def enrolled(directory: Path, tunnel: TunnelSettings | None, who: Identity | None = None) -> State:
    """Makes what enrolment would have left in `directory`. Not locked."""
    authority = Authority.create()
    with State.locked(directory) as state:
        _, tls = state.make_keys()
        me = who or identity(tunnel)
        state.enrol(me, authority.sign(tls.key.public_key(), me.address), [authority.root_pem])
    return State(directory)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + lifetime)
    )
