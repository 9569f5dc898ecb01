import pytest
from sqlmodel import select

from control_plane.access import Duplicate, Invalid, Unknown, create_tenant, find_tenant, list_tenants
from control_plane.identifiers import new_tenant_id
from control_plane.store import Store
from control_plane.store.tables import Audit, Tenant


def _create(store: Store, name: str) -> Tenant:
    return store.write_now(lambda session: create_tenant(session, name=name, actor="operator"))


def test_a_tenant_is_found_by_its_id_and_by_its_name(store: Store) -> None:
    tenant = _create(store, "Acme Labs")
    with store.reading() as session:
        assert find_tenant(session, tenant.id).name == "Acme Labs"
        assert find_tenant(session, "Acme Labs").id == tenant.id


def test_a_second_tenant_of_the_same_name_is_refused(store: Store) -> None:
    _create(store, "acme")
    with pytest.raises(Duplicate, match="'acme'"):
        _create(store, "acme")
    with store.reading() as session:
        assert [tenant.name for tenant in list_tenants(session)] == ["acme"]


def test_an_unknown_tenant_is_unknown(store: Store) -> None:
    with store.reading() as session, pytest.raises(Unknown, match="no tenant 'nobody'"):
        find_tenant(session, "nobody")


@pytest.mark.parametrize("name", ["", "x" * 65, " acme", "acme ", "ac\nme", "\x1b[31m", new_tenant_id()])
def test_names_that_would_mislead_are_refused(store: Store, name: str) -> None:
    with pytest.raises(Invalid):
        _create(store, name)


def test_creating_a_tenant_is_audited(store: Store) -> None:
    tenant = _create(store, "acme")
    with store.reading() as session:
        entry = session.exec(select(Audit)).one()
    assert (entry.actor, entry.action, entry.subject) == ("operator", "tenant.created", tenant.id)
