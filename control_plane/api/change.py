"""A change that this process is to obey before its answer goes out."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from control_plane.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Change:
    """A change of the economy: whoever has the answer finds it in force in this process."""

    def __init__(self, store: Store, refresh: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._refresh = refresh

    async def __call__(self, unit: Callable[[Session], T]) -> T:
        result = await self._store.write(unit)
        try:
            await self._refresh()
        except SQLAlchemyError:
            # The change is committed, and the index's own watch follows.
            logger.exception(
                "could not read the economy after a change; it is in force when that can be read"
            )
        return result
