"""The access index: every good key in memory, as fresh as the store's changes."""

import asyncio
import logging
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from control_plane.access.keys import MAX_KEY_CHARACTERS, PREFIX, hash_key
from control_plane.access.principal import Principal
from control_plane.identifiers import AgentId, ApiKeyId, TenantId
from control_plane.store import Store, unix_ms, watch
from control_plane.store.tables import ApiKey, ChangeKind, Purpose, Tenant

logger = logging.getLogger(__name__)

RETRY_S = 1.0


class AccessIndex:
    """Answers for keys without I/O. `run` follows the store until it is cancelled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_hash: Mapping[bytes, Principal] = {}
        # One at a time, so that an older reading never replaces a newer one.
        self._refreshing = asyncio.Lock()

    def authenticate(self, token: str) -> Principal | None:
        """Whose key `token` is; None where it is no key, an unknown one, a revoked or an expired one."""
        if len(token) > MAX_KEY_CHARACTERS or not token.startswith(PREFIX):
            return None
        principal = self._by_hash.get(hash_key(token))
        if principal is None or principal.expires_unix_ms is None or unix_ms() < principal.expires_unix_ms:
            return principal
        return None

    async def refresh(self) -> None:
        """Reads the keys again; whoever returns from here sees every change committed before."""
        async with self._refreshing:
            self._by_hash = await self._store.read(_good_keys)

    async def run(self) -> None:
        while True:
            try:
                async for changes in watch(self._store):
                    if ChangeKind.ACCESS in changes.kinds:
                        await self.refresh()
            except SQLAlchemyError:
                # What is held stays in use: an unreadable database must not turn every caller away.
                logger.exception("could not read API keys, trying again in %s s", RETRY_S)
                await asyncio.sleep(RETRY_S)


def _good_keys(session: Session) -> Mapping[bytes, Principal]:
    rows = session.exec(
        select(ApiKey, Tenant)
        .join(Tenant, col(Tenant.id) == col(ApiKey.tenant_id))
        .where(col(ApiKey.revoked_unix_ms).is_(None))
    )
    return {
        bytes(key.hash_sha256): Principal(
            TenantId(tenant.id),
            tenant.name,
            ApiKeyId(key.id),
            Purpose(key.purpose),
            AgentId(key.only_agent_id) if key.only_agent_id is not None else None,
            key.expires_unix_ms,
        )
        for key, tenant in rows
    }
