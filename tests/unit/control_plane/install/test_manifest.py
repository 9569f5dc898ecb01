"""The manifest: written and read back, and refused for anything that a shell could stumble over."""

import pytest

from control_plane.install import Artifact, BadManifest, Manifest

SUM = "0123456789abcdef" * 4
GOOD = Manifest(
    "0.1.0", 1_800_000_000, (Artifact("install.sh", 12, SUM), Artifact("a_b-1.2+cpu.whl", 0, SUM))
)


def test_what_was_written_is_what_is_read() -> None:
    data = GOOD.dump()
    assert Manifest.parse(data) == GOOD
    assert data == (
        b"daalu-release 1\nversion 0.1.0\nreleased 1800000000\n"
        + f"{SUM} 12 install.sh\n{SUM} 0 a_b-1.2+cpu.whl\n".encode()
    )
    assert GOOD.find("install.sh") == GOOD.artifacts[0]
    assert GOOD.find("other") is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begin"),
        (GOOD.dump()[:-1], "cut short"),
        (GOOD.dump().replace(b"release 1", b"release 2"), "begin"),
        (GOOD.dump().replace(b"version 0.1.0", b"version $(id)"), "version"),
        (GOOD.dump().replace(b"released 18", b"released -8"), "time"),
        (GOOD.dump().replace(b"released 18", b"released 08"), "time"),
        (GOOD.dump().replace(b"install.sh", b"../install"), "line 4"),
        (GOOD.dump().replace(b"install.sh", b"-o"), "line 4"),
        (GOOD.dump().replace(b"install.sh", b".hidden"), "line 4"),
        (GOOD.dump().replace(b"install.sh", b"two words"), "line 4"),
        (GOOD.dump().replace(b"install.sh", b"na\xc3\xafve"), "ASCII"),
        (GOOD.dump().replace(b"install.sh", b"a\rb"), "line 4"),
        (GOOD.dump().replace(b" 12 ", b" 012 "), "line 4"),
        (GOOD.dump().replace(SUM.encode(), SUM.upper().encode()), "line 4"),
        (GOOD.dump().replace(b"a_b-1.2+cpu.whl", b"install.sh"), "twice"),
        (GOOD.dump() + b"\n", "line 6"),
        (GOOD.dump() + f"{SUM} 1 x\n".encode() * 4000, "larger"),
    ],
)
def test_another_form_is_refused_with_its_place(data: bytes, words: str) -> None:
    with pytest.raises(BadManifest, match=words):
        Manifest.parse(data)


def test_values_that_could_not_be_read_are_not_written() -> None:
    with pytest.raises(BadManifest):
        Manifest("1", 1, (Artifact("a/b", 1, SUM),)).dump()
