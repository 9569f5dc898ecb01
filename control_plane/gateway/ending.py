"""How an attempt's hold ends, as the book of calls writes it with the call's row."""

from dataclasses import dataclass
from typing import TypeAlias

from control_plane.economy import OwnFacts, SettleFacts
from control_plane.identifiers import AttemptId


@dataclass(frozen=True, slots=True)
class Voided:
    """Nothing of an answer was delivered: the whole hold is given back."""

    attempt_id: AttemptId


Ending: TypeAlias = OwnFacts | SettleFacts | Voided
