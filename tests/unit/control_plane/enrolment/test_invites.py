import hashlib

from sqlmodel import select

from control_plane.enrolment import create_invite
from control_plane.store import Store
from control_plane.store.tables import Audit, Invite
from tests.support.enrolment import NOW_MS, URL, new_tenant, read_invite


def test_an_invite_says_where_to_enrol_and_whom_to_trust(store: Store) -> None:
    tenant = new_tenant(store)
    invite = store.write_now(
        lambda session: create_invite(
            session,
            tenant_id=tenant,
            url=URL,
            control_plane_key_sha256=b"k" * 32,
            actor="operator",
            now_unix_ms=NOW_MS,
        )
    )
    text, expires_unix_ms = invite
    assert text.startswith("daalu-invite-")
    message = read_invite(text)
    assert (message.url, message.control_plane_key_sha256, len(message.token)) == (URL, b"k" * 32, 32)
    assert expires_unix_ms == NOW_MS + 3_600_000
    with store.reading() as session:
        row = session.exec(select(Invite)).one()
        entry = session.exec(select(Audit).where(Audit.action == "invite.created")).one()
    assert row.token_sha256 == hashlib.sha256(message.token).digest()
    assert (row.tenant_id, row.expires_unix_ms, row.claimed_unix_ms) == (tenant, expires_unix_ms, None)
    assert entry.subject == row.id
    assert message.token.hex() not in entry.detail
