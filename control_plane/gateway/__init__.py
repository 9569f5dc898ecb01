"""The gateway: the one front door to every card.

A *call* is planned by the router and served in *attempts*, each with a *ticket* that an engine's gate
admits once. An attempt's answer is *relayed* to the *client* while a *meter* reads its token counts, and
the call is *settled*: recorded for good before the client sees the *end marker*. The *book* keeps the
records. On a shared card or at a vendor an attempt is made under a *hold*, which *ends* settled or void.
*Cutting* ends what is in flight from an agent that was lost.
"""

from control_plane.gateway.absent import NoCounting
from control_plane.gateway.counting import OwnCounting
from control_plane.gateway.errors import ClientGone
from control_plane.gateway.exchange import Exchange, RequestHead, Wire
from control_plane.gateway.gateway import Gateway, Rooms
from control_plane.gateway.limits import Limits
from control_plane.gateway.ports import Client, Headers
from control_plane.gateway.siblings import Siblings

__all__ = [
    "Client",
    "ClientGone",
    "Exchange",
    "Gateway",
    "Headers",
    "Limits",
    "NoCounting",
    "OwnCounting",
    "RequestHead",
    "Rooms",
    "Siblings",
    "Wire",
]
