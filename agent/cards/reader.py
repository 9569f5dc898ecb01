"""What the rest of the daemon asks of a card reader."""

from typing import Protocol

from daalu_wire.v1 import agent_pb2

Inventory = tuple[agent_pb2.CardSystem, list[agent_pb2.Card]]
Sample = tuple[agent_pb2.CardSystem, list[agent_pb2.CardSample]]


class CardReader(Protocol):
    """Neither call raises for what hardware or driver do: that is in what they return.

    Both answer within a second or two, whatever the driver does.
    """

    async def inventory(self) -> Inventory: ...

    async def sample(self) -> Sample: ...

    def close(self) -> None:
        """Lets go of the driver. Does not wait; nothing may be asked afterwards."""
