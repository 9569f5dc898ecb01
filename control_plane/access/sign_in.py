"""Signing in: the link by which a person chooses a password, and who an address belongs to."""

import hashlib
import secrets

from sqlmodel import Session, col, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Duplicate, Unknown
from control_plane.access.sessions import end_sessions
from control_plane.access.users import find_user
from control_plane.store import unix_ms
from control_plane.store.tables import User

LINK_LIFETIME_MS = 72 * 60 * 60 * 1000
_MAX_TOKEN_CHARACTERS = 128


def new_link(session: Session, *, user_id: str, actor: str) -> tuple[str, int]:
    """Its token, shown this once, and when it expires. An earlier link is good no more. Raises Unknown."""
    user = find_user(session, user_id)
    token = secrets.token_urlsafe(32)
    user.link_sha256 = _digest(token)
    user.link_expires_unix_ms = expires = unix_ms() + LINK_LIFETIME_MS
    session.add(user)
    audit(session, actor=actor, action="user.link_made", subject=user.id, tenant_id=user.tenant_id)
    return token, expires


def find_link(session: Session, token: str) -> User:
    """Whose it is. Raises Unknown, which does not say the token."""
    query = select(User).where(
        User.link_sha256 == _digest(token[:_MAX_TOKEN_CHARACTERS]), col(User.removed_unix_ms).is_(None)
    )
    user = session.exec(query).first()
    if user is None or (user.link_expires_unix_ms or 0) <= unix_ms():
        raise Unknown("link", "of that token: it was used, or is older than 72 hours")
    return user


def choose_password(session: Session, *, token: str, password_hash: str) -> User:
    """Uses the link up, and ends the user's sessions. Raises Unknown, or Duplicate where the address signs
    in to another tenant."""
    user = find_link(session, token)
    others = select(User.id).where(
        User.email == user.email, User.id != user.id, col(User.password_hash).is_not(None)
    )
    if session.exec(others).first():
        raise Duplicate("this address signs in to another tenant already: ask for a user of another address")
    user.password_hash = password_hash
    user.link_sha256 = user.link_expires_unix_ms = None
    session.add(user)
    end_sessions(session, user.id)
    audit(session, actor=user.id, action="user.password_chosen", subject=user.id, tenant_id=user.tenant_id)
    return user


def password_hash_of(session: Session, email: str) -> tuple[User | None, str | None]:
    """The user who signs in with this address, and the hash; None, None: nobody."""
    query = select(User).where(
        User.email == email.strip().lower(),
        col(User.password_hash).is_not(None),
        col(User.removed_unix_ms).is_(None),
    )
    user = session.exec(query).first()
    return user, user.password_hash if user else None


def user_of_address(session: Session, email: str) -> User:
    """Whom an identity provider means by an address that it verified. Raises Unknown, or Duplicate where
    several tenants have a user of it, and none of them signs in with a password."""
    query = select(User).where(User.email == email.lower(), col(User.removed_unix_ms).is_(None))
    users = list(session.exec(query))
    if not users:
        raise Unknown("user", email)
    # Of several, the one that the address and its password name.
    chosen = users if len(users) == 1 else [user for user in users if user.password_hash is not None]
    if len(chosen) != 1:
        raise Duplicate(
            f"{email} is a user of several tenants: choose a password in the one that it is to sign in to"
        )
    return chosen[0]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
