"""Invites: what an operator hands to an owner, as one line of text; and whom they name."""

import base64
import binascii
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from daalu_wire.v1 import enrolment_pb2
from google.protobuf.message import DecodeError

PREFIX = "daalu-invite-"
_ASK = "ask for a new one (`daalu agents invite`)"
# An invite is about 150 characters; a longer one is some other file.
_LENGTH_LIMIT = 4096


class InvalidInvite(ValueError):
    """This is no usable invite; the text says what is wrong and never repeats the token."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where it is, and the key that it is known by."""

    host: str
    port: int
    key_sha256: bytes

    @classmethod
    def of(cls, url: str, key_sha256: bytes) -> "ControlPlane":
        """ValueError where `url` is no https://host:port."""
        parts = urlsplit(url)
        port = parts.port or 443
        if (
            parts.scheme != "https"
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
            or parts.username
        ):
            raise ValueError(f"{url!r} is no https://host:port")
        return cls(parts.hostname, port, key_sha256)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"

    @property
    def names_this_machine(self) -> bool:
        """The address is loopback, the only place for direct mode."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Invite:
    control_plane: ControlPlane
    token: bytes = field(repr=False)


def parse_invite(text: str) -> Invite:
    """White space, as mail and terminals add it, is ignored. Raises InvalidInvite."""
    joined = "".join(text.split())
    if not joined.startswith(PREFIX) or len(joined) > _LENGTH_LIMIT:
        raise InvalidInvite(f"this is no invite: an invite starts with {PREFIX}")
    body = joined.removeprefix(PREFIX)
    message = enrolment_pb2.Invite()
    try:
        message.ParseFromString(
            base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        )
    except (binascii.Error, DecodeError, ValueError):
        raise InvalidInvite(f"the invite is damaged: copy the whole of it, or {_ASK}") from None
    if len(message.token) != 32 or len(message.control_plane_key_sha256) != 32:
        raise InvalidInvite(f"the invite is cut short: copy the whole of it, or {_ASK}")
    try:
        return Invite(ControlPlane.of(message.url, message.control_plane_key_sha256), message.token)
    except ValueError as error:
        raise InvalidInvite(f"the invite names no control plane ({error}): {_ASK}") from None
