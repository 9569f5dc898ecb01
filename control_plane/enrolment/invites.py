"""Invites: one-time rights to enrol one agent for a tenant. The token is shown once; its SHA-256 is kept."""

import base64
import hashlib
import secrets
from typing import NamedTuple

from daalu_wire.v1 import enrolment_pb2
from sqlmodel import Session

from control_plane.access import audit
from control_plane.identifiers import new_invite_id
from control_plane.store.tables import Invite

PREFIX = "daalu-invite-"
TOKEN_BYTES = 32
LIFETIME_MS = 60 * 60 * 1000


class NewInvite(NamedTuple):
    # What the operator hands to the owner; it is not kept anywhere.
    text: str
    expires_unix_ms: int


def create_invite(
    session: Session,
    *,
    tenant_id: str,
    url: str,
    control_plane_key_sha256: bytes,
    actor: str,
    now_unix_ms: int,
) -> NewInvite:
    """`url` is where agents reach HTTPS; `control_plane_key_sha256` is of the key shown there."""
    token = secrets.token_bytes(TOKEN_BYTES)
    invite = Invite(
        id=new_invite_id(),
        tenant_id=tenant_id,
        token_sha256=hash_token(token),
        created_unix_ms=now_unix_ms,
        expires_unix_ms=now_unix_ms + LIFETIME_MS,
    )
    session.add(invite)
    audit(session, actor=actor, action="invite.created", subject=invite.id, tenant_id=tenant_id)
    return NewInvite(_text(url, token, control_plane_key_sha256), invite.expires_unix_ms)


def hash_token(token: bytes) -> bytes:
    """A plain hash is enough: 256 random bits cannot be guessed from it."""
    return hashlib.sha256(token).digest()


def _text(url: str, token: bytes, control_plane_key_sha256: bytes) -> str:
    message = enrolment_pb2.Invite(url=url, token=token, control_plane_key_sha256=control_plane_key_sha256)
    return PREFIX + base64.urlsafe_b64encode(message.SerializeToString()).rstrip(b"=").decode()
