"""The audit trail's query, on both databases."""

import pytest
from sqlmodel import Session

from control_plane.access import AuditSearch, audit, create_tenant, create_user, read_trail
from control_plane.store import Store
from control_plane.store.tables import Audit, UserRole

DAY_MS = 86_400_000


@pytest.fixture
def tenants(store: Store) -> tuple[str, str]:
    """With an entry each for twenty days, by its own user."""

    def unit(session: Session) -> tuple[str, str]:
        made = []
        for name in ("acme", "zebra"):
            tenant = create_tenant(session, name=name, actor="operator")
            session.flush()
            user = create_user(
                session, tenant=tenant, email=f"ada@{name}.test", role=UserRole.ADMIN, actor="operator"
            )
            made.append((tenant, user.id))
        for day in range(20):
            for tenant, user_id in made:
                session.add(
                    Audit(
                        at_unix_ms=day * DAY_MS, tenant_id=tenant.id, actor=user_id,
                        action="key.revoked" if day % 2 else "key_ring.made", subject=f"key-{day}",
                    )
                )  # fmt: skip
        return made[0][0].id, made[1][0].id

    return store.write_now(unit)


def _read(store: Store, search: AuditSearch, *, limit: int = 500) -> list[tuple[str | None, str]]:
    with store.reading() as session:
        page = read_trail(session, search, before=None, limit=limit)
    return [(entry.tenant_name, entry.subject) for entry in page.entries]


def test_a_tenants_trail_has_nothing_of_another(store: Store, tenants: tuple[str, str]) -> None:
    found = _read(store, AuditSearch(tenant_id=tenants[0]))
    assert len(found) == 22
    assert {name for name, _ in found} == {"acme"}


def test_pages_give_every_entry_once_and_newest_first(store: Store, tenants: tuple[str, str]) -> None:
    ids: list[int] = []
    before = None
    with store.reading() as session:
        whole = read_trail(session, AuditSearch(), before=None, limit=500)
        while True:
            page = read_trail(session, AuditSearch(), before=before, limit=7)
            assert len(page.entries) <= 7
            ids += [entry.id for entry in page.entries]
            before = page.next_before
            if before is None:
                break
    assert ids == [entry.id for entry in whole.entries]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 44


def test_a_page_that_ends_with_the_oldest_names_no_next(store: Store, tenants: tuple[str, str]) -> None:
    with store.reading() as session:
        assert read_trail(session, AuditSearch(), before=None, limit=44).next_before is None
        assert read_trail(session, AuditSearch(), before=None, limit=43).next_before is not None
        assert len(read_trail(session, AuditSearch(), before=2**31 - 1, limit=500).entries) == 44
        assert read_trail(session, AuditSearch(), before=0, limit=500).entries == ()


def test_an_action_is_found_whole_or_by_its_kind_and_not_by_any_beginning(
    store: Store, tenants: tuple[str, str]
) -> None:
    assert len(_read(store, AuditSearch(action="key.revoked"))) == 20
    assert len(_read(store, AuditSearch(action="key"))) == 20
    assert len(_read(store, AuditSearch(action="key_ring"))) == 20
    assert _read(store, AuditSearch(action="ke")) == []
    assert _read(store, AuditSearch(action="%")) == []


def test_an_actor_is_found_by_id_and_by_address(store: Store, tenants: tuple[str, str]) -> None:
    by_address = _read(store, AuditSearch(actor="ADA@acme.test"))
    assert len(by_address) == 20
    with store.reading() as session:
        page = read_trail(session, AuditSearch(actor="ada@acme.test"), before=None, limit=1)
    entry = page.entries[0]
    assert entry.actor_name == "ada@acme.test"
    assert _read(store, AuditSearch(actor=entry.actor)) == by_address
    assert _read(store, AuditSearch(actor="ada@elsewhere.test")) == []


def test_a_range_holds_its_first_moment_and_not_its_last(store: Store, tenants: tuple[str, str]) -> None:
    search = AuditSearch(tenant_id=tenants[0], since_unix_ms=3 * DAY_MS, until_unix_ms=5 * DAY_MS)
    assert [subject for _, subject in _read(store, search)] == ["key-4", "key-3"]


def test_an_actor_of_another_tenant_has_no_name(store: Store, tenants: tuple[str, str]) -> None:
    def unit(session: Session) -> None:
        other = read_trail(session, AuditSearch(tenant_id=tenants[1]), before=None, limit=1).entries[0].actor
        audit(session, actor=other, action="odd.thing", subject="x", tenant_id=tenants[0])

    store.write_now(unit)
    with store.reading() as session:
        page = read_trail(session, AuditSearch(action="odd"), before=None, limit=5)
    assert [entry.actor_name for entry in page.entries] == [None]
