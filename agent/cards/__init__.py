"""The cards: what this host's GPUs are, and what they report from second to second.

A *reader* gives the *inventory* (what does not change) and *samples* (what does), as wire messages. Each
field is a value, *unsupported* (this card or driver has no such thing) or an *error*; never 0 for unknown.
The *card system* says whether cards can be read at all. A card that the driver cannot reach any more is
*lost*; the others go on.

`NvmlReader` asks the NVIDIA driver. `SimulatedReader` makes a card up, and labels it so everywhere.
"""

from agent.cards.nvml import NvmlReader
from agent.cards.reader import CardReader
from agent.cards.simulated import DEFAULT_SIMULATED_CARD, SimulatedReader
from agent.cards.xid import KERNEL_LOG

__all__ = ["DEFAULT_SIMULATED_CARD", "KERNEL_LOG", "CardReader", "NvmlReader", "SimulatedReader"]
