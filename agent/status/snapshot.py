"""Everything that `daalu-agent status` shows, as one value that travels as JSON."""

import datetime as dt
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from daalu_wire.v1 import agent_pb2
from google.protobuf import json_format

from agent.identity import Identity
from agent.tunnel import LinkStatus


@dataclass(frozen=True, slots=True)
class Snapshot:
    taken: dt.datetime
    # None: not enrolled.
    identity: Identity | None
    # None: no daemon runs.
    daemon_pid: int | None = None
    # None: not enrolled, or the certificate cannot be read.
    certificate_expires: dt.datetime | None = None
    link: LinkStatus | None = None
    # Cards that are there; no samples: they were not read.
    card_system: agent_pb2.CardSystem = field(default_factory=agent_pb2.CardSystem)
    cards: tuple[agent_pb2.Card, ...] = ()
    samples: tuple[agent_pb2.CardSample, ...] = ()
    engine: agent_pb2.EngineSample | None = None
    # None: not since the daemon started.
    last_contact: dt.datetime | None = None
    # What could not be found out, in words.
    faults: tuple[str, ...] = ()

    def dump(self) -> bytes:
        """One line."""
        content = {
            "taken": self.taken.isoformat(),
            "identity": self.identity and self.identity.dump().decode(),
            "daemon_pid": self.daemon_pid,
            "certificate_expires": _iso(self.certificate_expires),
            "link": self.link and asdict(self.link),
            "card_system": json_format.MessageToDict(self.card_system),
            "cards": [json_format.MessageToDict(card) for card in self.cards],
            "samples": [json_format.MessageToDict(sample) for sample in self.samples],
            "engine": None if self.engine is None else json_format.MessageToDict(self.engine),
            "last_contact": _iso(self.last_contact),
            "faults": list(self.faults),
        }
        return json.dumps(content).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> "Snapshot":
        """ValueError where it is not what this version writes."""
        try:
            return _load(json.loads(line))
        except (json_format.ParseError, KeyError, TypeError) as error:
            raise ValueError("the daemon is of another version: restart it") from error


def _load(content: dict[str, Any]) -> Snapshot:
    identity, link, engine = content["identity"], content["link"], content["engine"]
    return Snapshot(
        taken=dt.datetime.fromisoformat(content["taken"]),
        identity=identity and Identity.load(identity.encode()),
        daemon_pid=content["daemon_pid"],
        certificate_expires=_moment(content["certificate_expires"]),
        link=link and LinkStatus(**link),
        card_system=json_format.ParseDict(content["card_system"], agent_pb2.CardSystem()),
        cards=tuple(json_format.ParseDict(card, agent_pb2.Card()) for card in content["cards"]),
        samples=tuple(json_format.ParseDict(item, agent_pb2.CardSample()) for item in content["samples"]),
        engine=None if engine is None else json_format.ParseDict(engine, agent_pb2.EngineSample()),
        last_contact=_moment(content["last_contact"]),
        faults=tuple(content["faults"]),
    )


def _iso(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
