import pytest

from control_plane.access import Duplicate, Invalid, create_tenant, create_user, list_users
from control_plane.store import Store
from control_plane.store.tables import Tenant, User, UserRole


@pytest.fixture
def tenant(store: Store) -> Tenant:
    return store.write_now(lambda session: create_tenant(session, name="acme", actor="operator"))


def _create(store: Store, tenant: Tenant, email: str) -> User:
    return store.write_now(
        lambda session: create_user(
            session, tenant=tenant, email=email, role=UserRole.ADMIN, actor="operator"
        )
    )


def test_an_address_is_kept_in_lower_case_and_is_unique_in_its_tenant(store: Store, tenant: Tenant) -> None:
    assert _create(store, tenant, "Ann@Example.org").email == "ann@example.org"
    with pytest.raises(Duplicate, match=r"acme has a user ann@example\.org"):
        _create(store, tenant, "ann@example.ORG")


def test_two_tenants_may_have_a_user_of_the_same_address(store: Store, tenant: Tenant) -> None:
    other = store.write_now(lambda session: create_tenant(session, name="other", actor="operator"))
    _create(store, tenant, "ann@example.org")
    _create(store, other, "ann@example.org")
    with store.reading() as session:
        assert [user.tenant_id for user in list_users(session, tenant.id)] == [tenant.id]
        assert len(list_users(session)) == 2


@pytest.mark.parametrize("email", ["", "ann", "ann@", "@example.org", "a b@example.org", "a@b@c", "a@\n"])
def test_what_is_no_address_is_refused(store: Store, tenant: Tenant, email: str) -> None:
    with pytest.raises(Invalid, match="not an e-mail address"):
        _create(store, tenant, email)
