import re

import pytest
from sqlmodel import select

from control_plane.access import NewKey, Unknown, create_key, create_tenant, hash_key, list_keys, revoke_key
from control_plane.store import Store
from control_plane.store.tables import ApiKey, Audit, Purpose, Tenant


@pytest.fixture
def tenant(store: Store) -> Tenant:
    return store.write_now(lambda session: create_tenant(session, name="acme", actor="operator"))


def _create(store: Store, tenant: Tenant) -> NewKey:
    return store.write_now(
        lambda session: create_key(
            session, tenant=tenant, name="laptop", purpose=Purpose.CODING, actor="operator"
        )
    )


def test_a_key_is_256_bits_behind_a_prefix(store: Store, tenant: Tenant) -> None:
    assert re.fullmatch(r"dk-[A-Za-z0-9_-]{43}", _create(store, tenant).text)


def test_only_the_hash_and_a_hint_of_a_key_are_kept(store: Store, tenant: Tenant) -> None:
    key = _create(store, tenant)
    with store.reading() as session:
        row = session.exec(select(ApiKey)).one()
        trail = " ".join(entry.model_dump_json() for entry in session.exec(select(Audit)))
    assert row.hash_sha256 == hash_key(key.text)
    assert row.hint == key.text[:8]
    assert key.text not in repr(key)
    assert key.text not in trail


def test_a_revoked_key_keeps_the_time_of_its_first_revocation(store: Store, tenant: Tenant) -> None:
    key_id = _create(store, tenant).row.id
    first = store.write_now(lambda session: revoke_key(session, key_id=key_id, actor="operator"))
    second = store.write_now(lambda session: revoke_key(session, key_id=key_id, actor="operator"))
    assert first.revoked_unix_ms is not None
    assert second.revoked_unix_ms == first.revoked_unix_ms
    with store.reading() as session:
        assert [row.revoked_unix_ms for row in list_keys(session, tenant.id)] == [first.revoked_unix_ms]
        actions = list(session.exec(select(Audit.action)))
    assert actions.count("key.revoked") == 1


def test_revoking_an_unknown_key_is_unknown(store: Store) -> None:
    with pytest.raises(Unknown, match="no key 'key-x'"):
        store.write_now(lambda session: revoke_key(session, key_id="key-x", actor="operator"))
