"""What the REST interface answers with about tenants, users, keys and models. Fields are only added."""

import base64
from typing import Self

from pydantic import BaseModel, ConfigDict

from control_plane.install import Installation
from control_plane.store.tables import ApiKey, Purpose, Tenant, User, UserRole


class Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Request(BaseModel):
    # A misspelt field must not be taken for an absent one.
    model_config = ConfigDict(frozen=True, extra="forbid")


class TenantResponse(Response):
    id: str
    name: str
    created_unix_ms: int

    @classmethod
    def of(cls, row: Tenant) -> Self:
        return cls(id=row.id, name=row.name, created_unix_ms=row.created_unix_ms)


class UserResponse(Response):
    id: str
    tenant_id: str
    email: str
    role: UserRole
    created_unix_ms: int

    @classmethod
    def of(cls, row: User) -> Self:
        return cls(
            id=row.id,
            tenant_id=row.tenant_id,
            email=row.email,
            role=UserRole(row.role),
            created_unix_ms=row.created_unix_ms,
        )


class LinkResponse(Response):
    user_id: str
    # The only time that it is shown. Good once, until `expires_unix_ms`.
    link: str
    expires_unix_ms: int


class KeyResponse(Response):
    id: str
    tenant_id: str
    name: str
    hint: str
    purpose: Purpose
    created_unix_ms: int
    revoked_unix_ms: int | None

    @classmethod
    def of(cls, row: ApiKey) -> Self:
        return cls(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.name,
            hint=row.hint,
            purpose=Purpose(row.purpose),
            created_unix_ms=row.created_unix_ms,
            revoked_unix_ms=row.revoked_unix_ms,
        )


class NewKeyResponse(Response):
    key: KeyResponse
    # The only time that it is shown.
    secret: str


class ModelResponse(Response):
    id: str
    served_name: str
    description: str
    kind: str
    licence: str
    parameters_count: int
    context_tokens: int
    max_running_calls: int
    digest: str


class TenantRequest(Request):
    name: str


class UserRequest(Request):
    tenant: str
    email: str
    role: UserRole = UserRole.MEMBER


class KeyRequest(Request):
    tenant: str
    name: str
    purpose: Purpose = Purpose.GENERAL


class InviteRequest(Request):
    tenant: str


class InviteResponse(Response):
    tenant_id: str
    # The only time that it is shown. Good once, until `expires_unix_ms`.
    invite: str
    expires_unix_ms: int
    # What the owner pastes, with the invite in it, and what proves to an operator who knows the release key
    # that it runs a release of that key; None: this control plane serves no release.
    install_line: str | None
    release_manifest: str | None
    release_signature: str | None

    @classmethod
    def of(cls, tenant_id: str, invite: str, expires_unix_ms: int, found: Installation | None) -> Self:
        release = found.release if found else None
        return cls(
            tenant_id=tenant_id,
            invite=invite,
            expires_unix_ms=expires_unix_ms,
            install_line=found.line(invite) if found else None,
            release_manifest=release.manifest_bytes.decode() if release else None,
            release_signature=base64.b64encode(release.signature).decode() if release else None,
        )


class DeployRequest(Request):
    model: str
