import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from control_plane.enrolment import create_server_certificate, file_key_sha256, key_sha256

HOSTS = ["control.example", "127.0.0.1", "::1"]


def _create(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "tls" / "server.pem", directory / "tls" / "server.key"
    create_server_certificate(certificate, key, HOSTS)
    return certificate, key


def test_it_names_every_host(tmp_path: Path) -> None:
    certificate, _ = _create(tmp_path)
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["control.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    assert file_key_sha256(certificate) == key_sha256(loaded)


def test_a_client_that_is_given_it_trusts_it_strictly(tmp_path: Path) -> None:
    certificate, key = _create(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    _shake_hands(client, server, "control.example")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends


def test_it_is_made_once(tmp_path: Path) -> None:
    certificate, key = _create(tmp_path)
    before = (certificate.read_bytes(), key.read_bytes())
    _create(tmp_path)
    assert (certificate.read_bytes(), key.read_bytes()) == before
    assert key.stat().st_mode & 0o777 == 0o600
