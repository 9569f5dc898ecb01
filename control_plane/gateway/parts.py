"""What all calls of a gateway share."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.catalogue import ModelNames
from control_plane.fleet.load_test import MeasuredLimit
from control_plane.gateway.dispatch import CardDispatch
from control_plane.gateway.holds import Reserving
from control_plane.gateway.limits import Limits
from control_plane.gateway.ports import Counting, Economy, Fleet
from control_plane.gateway.streams import InFlight
from control_plane.gateway.vendor_dispatch import VendorDispatch
from control_plane.identifiers import AgentId
from control_plane.metrics import Meters
from control_plane.router import Breakers, RetryBudget
from control_plane.vendors import Vendors

Own = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@dataclass(frozen=True, slots=True)
class Parts:
    reserving: Reserving
    fleet: Fleet
    economy: Economy
    counting: Counting
    names: ModelNames
    vendors: Vendors
    cards: CardDispatch
    at_vendors: VendorDispatch
    in_flight: InFlight
    breakers: Breakers
    retries: RetryBudget
    limits: Limits
    meters: Meters
    # What load tests measured, as of now.
    measured: Callable[[], Mapping[AgentId, MeasuredLimit]]
    # Runs a task that outlives the request which started it.
    own: Own
