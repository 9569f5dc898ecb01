"""REST: tenants, users and API keys. A tenant is named by its id or its name."""

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from control_plane.access import (
    OPERATOR,
    NewKey,
    create_key,
    create_tenant,
    create_user,
    find_tenant,
    list_keys,
    list_tenants,
    list_users,
    new_link,
    remove_user,
    revoke_key,
)
from control_plane.api.schemas import (
    KeyRequest,
    KeyResponse,
    LinkResponse,
    NewKeyResponse,
    TenantRequest,
    TenantResponse,
    UserRequest,
    UserResponse,
)
from control_plane.store import Store
from control_plane.store.tables import ApiKey, User

logger = logging.getLogger(__name__)

RefreshAccess = Callable[[], Awaitable[None]]


def access_routes(store: Store, refresh_access: RefreshAccess, public_url: str) -> APIRouter:
    """`refresh_access` is awaited after a key's change and before its answer, so that whoever has the answer
    finds the change in force in this process."""
    routes = APIRouter()

    async def put_in_force() -> None:
        try:
            await refresh_access()
        except SQLAlchemyError:
            # The change is committed and its secret is shown only once. The index's own watch follows.
            logger.exception("could not read API keys after a change; it is in force when they can be read")

    @routes.get("/tenants")
    async def tenants() -> list[TenantResponse]:
        """All tenants."""
        return [TenantResponse.of(row) for row in await store.read(list_tenants)]

    @routes.post("/tenants", status_code=201)
    async def new_tenant(wanted: TenantRequest) -> TenantResponse:
        """Makes a tenant. A name that another has is refused."""
        row = await store.write(lambda session: create_tenant(session, name=wanted.name, actor=OPERATOR))
        return TenantResponse.of(row)

    @routes.get("/tenants/{tenant}")
    async def tenant(tenant: str) -> TenantResponse:
        """One tenant."""
        return TenantResponse.of(await store.read(lambda session: find_tenant(session, tenant)))

    @routes.get("/users")
    async def users(tenant: str | None = None) -> list[UserResponse]:
        """People of a tenant, or of all."""

        def query(session: Session) -> list[User]:
            return list_users(session, _tenant_id(session, tenant))

        return [UserResponse.of(row) for row in await store.read(query)]

    @routes.post("/users", status_code=201)
    async def new_user(wanted: UserRequest) -> UserResponse:
        """Makes a user. A link is how that person then chooses a password."""

        def unit(session: Session) -> User:
            tenant = find_tenant(session, wanted.tenant)
            return create_user(session, tenant=tenant, email=wanted.email, role=wanted.role, actor=OPERATOR)

        return UserResponse.of(await store.write(unit))

    @routes.post("/users/{user_id}/link", status_code=201)
    async def link(user_id: str) -> LinkResponse:
        """Makes the link by which a user chooses a password, once."""
        token, expires = await store.write(lambda session: new_link(session, user_id=user_id, actor=OPERATOR))
        return LinkResponse(
            user_id=user_id, link=f"{public_url}/console/welcome/{token}", expires_unix_ms=expires
        )

    @routes.post("/users/{user_id}/remove")
    async def remove(user_id: str) -> UserResponse:
        """Signs the user out everywhere and for good."""
        row = await store.write(lambda session: remove_user(session, user_id=user_id, actor=OPERATOR))
        return UserResponse.of(row)

    @routes.get("/keys")
    async def keys(tenant: str | None = None) -> list[KeyResponse]:
        """API keys, never their secrets."""

        def query(session: Session) -> list[ApiKey]:
            return list_keys(session, _tenant_id(session, tenant))

        return [KeyResponse.of(row) for row in await store.read(query)]

    @routes.post("/keys", status_code=201)
    async def new_key(wanted: KeyRequest) -> NewKeyResponse:
        """Makes an API key. The answer has its secret, this once."""

        def unit(session: Session) -> NewKey:
            tenant = find_tenant(session, wanted.tenant)
            return create_key(
                session, tenant=tenant, name=wanted.name, purpose=wanted.purpose, actor=OPERATOR
            )

        made = await store.write(unit)
        await put_in_force()
        return NewKeyResponse(key=KeyResponse.of(made.row), secret=made.text)

    @routes.post("/keys/{key_id}/revoke")
    async def revoke(key_id: str) -> KeyResponse:
        """Ends an API key at once and for good."""
        row = await store.write(lambda session: revoke_key(session, key_id=key_id, actor=OPERATOR))
        await put_in_force()
        return KeyResponse.of(row)

    return routes


def _tenant_id(session: Session, id_or_name: str | None) -> str | None:
    return None if id_or_name is None else find_tenant(session, id_or_name).id
