import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from control_plane.tunnel import HubKeyUnusable, create_hub_key, hub_public_key


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub" / "private.key"
    create_hub_key(path)
    first = path.read_bytes()
    create_hub_key(path)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["private.key"]


def test_the_public_half_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "private.key"
    create_hub_key(path)
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(path.read_text()))
    assert base64.b64decode(hub_public_key(path)) == private.public_key().public_bytes_raw()


@pytest.mark.parametrize("content", [b"", b"not base64!", b"c2hvcnQ=", b"\xff\xfe"])
def test_a_broken_key_names_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "private.key"
    path.write_bytes(content)
    with pytest.raises(HubKeyUnusable, match=r"private\.key is not a WireGuard key"):
        hub_public_key(path)


def test_a_missing_key_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(HubKeyUnusable, match="daalu init"):
        hub_public_key(tmp_path / "private.key")
