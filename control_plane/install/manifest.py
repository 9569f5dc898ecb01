"""The manifest: what a release consists of, as a text that a POSIX shell can read. Pure.

daalu-release 1
version 0.1.0
released 1764036000
<SHA-256> <bytes> <name>
...
"""

import re
from dataclasses import dataclass
from typing import Self

FORMAT = "daalu-release 1"
# Some dozens of wheels; 200 characters a line.
MAX_BYTES = 256 * 1024
MAX_ARTIFACTS = 1000

_VERSION = re.compile(r"version ([0-9][0-9A-Za-z.+-]{0,63})")
_RELEASED = re.compile(r"released ([1-9][0-9]{0,11})")
# A name is one path component that no shell reads as an option.
_ARTIFACT = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,11}) ([A-Za-z0-9_][A-Za-z0-9._+-]{0,199})")


class BadManifest(ValueError):
    """This is no manifest that can be used; the text says where."""


@dataclass(frozen=True, slots=True)
class Artifact:
    name: str
    size_bytes: int
    # Lower-case hexadecimal.
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    version: str
    # A host takes no release that is older than its own.
    released_unix_s: int
    artifacts: tuple[Artifact, ...]

    def find(self, name: str) -> Artifact | None:
        return next((each for each in self.artifacts if each.name == name), None)

    def dump(self) -> bytes:
        """What `parse` reads. Raises BadManifest for values that it would refuse."""
        lines = [FORMAT, f"version {self.version}", f"released {self.released_unix_s}"]
        lines += [f"{each.sha256} {each.size_bytes} {each.name}" for each in self.artifacts]
        data = ("\n".join(lines) + "\n").encode()
        self.parse(data)
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises BadManifest."""
        if len(data) > MAX_BYTES:
            raise BadManifest(f"it is larger than {MAX_BYTES} bytes")
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            raise BadManifest("it is not ASCII") from None
        lines = text.split("\n")
        if len(lines) < 4 or lines[0] != FORMAT or lines.pop() != "":
            raise BadManifest(f"it does not begin with {FORMAT!r}, or is cut short")
        version, released = _VERSION.fullmatch(lines[1]), _RELEASED.fullmatch(lines[2])
        if version is None or released is None:
            raise BadManifest("its second and third line are not version and time of release")
        artifacts = tuple(_artifact(number, line) for number, line in enumerate(lines[3:], start=4))
        if len(artifacts) > MAX_ARTIFACTS:
            raise BadManifest(f"it names more than {MAX_ARTIFACTS} artifacts")
        if len({each.name for each in artifacts}) != len(artifacts):
            raise BadManifest("it names an artifact twice")
        return cls(version[1], int(released[1]), artifacts)


def _artifact(number: int, line: str) -> Artifact:
    found = _ARTIFACT.fullmatch(line)
    if found is None:
        raise BadManifest(f"line {number} is not SHA-256, size and name")
    return Artifact(found[3], int(found[2]), found[1])
