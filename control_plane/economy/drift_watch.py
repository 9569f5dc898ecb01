"""Looks now and then whether a provider's claims depart from the gateway's own counts, and flags it."""

import asyncio
import logging

from control_plane.economy.flags import find_drift, judge_providers
from control_plane.store import Store, unix_ms

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0


class DriftWatch:
    """One per process; several over one store flag each provider once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # Whatever it is that one provider claims: the others' calls go on.
                logger.exception("providers cannot be judged now, trying again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Raises what the store raises."""
        if await self._store.read(find_drift):
            now_unix_ms = unix_ms()
            flagged = await self._store.write(lambda session: judge_providers(session, now_unix_ms))
            for agent_id in flagged:
                logger.warning(
                    "agent %s claims more tokens than were counted; its credit is kept back", agent_id
                )
