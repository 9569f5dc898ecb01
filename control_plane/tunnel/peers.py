"""What the interface's peers are, what they should be, and the steps from one to the other. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

NONE = "(none)"
# A step is under 200 bytes of a command line, whose limit is 2 MiB.
MAX_STEPS_PER_COMMAND = 500


class UnreadableDump(ValueError):
    """`wg show dump` printed something that this version does not know."""


@dataclass(frozen=True, slots=True)
class Peer:
    """As the interface has it."""

    # Networks, in CIDR form.
    allowed: frozenset[str]
    # Where its last good packet came from: host and port.
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """The state that `wg show INTERFACE dump` prints. The private key is left out."""

    # None before one was set.
    public_key: str | None
    listen_port: int
    peers: Mapping[str, Peer]


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one peer."""

    public_key: str
    # The one network that the peer may use; None: the peer goes.
    allowed: str | None
    endpoint: str | None = None

    def arguments(self) -> tuple[str, ...]:
        """What `wg set INTERFACE` takes."""
        if self.allowed is None:
            return ("peer", self.public_key, "remove")
        endpoint = ("endpoint", self.endpoint) if self.endpoint else ()
        return ("peer", self.public_key, *endpoint, "allowed-ips", self.allowed)


@dataclass(frozen=True, slots=True)
class Difference:
    """Steps in order. A network is given away only after whoever had it lost it, so none is ever stolen."""

    # Peers that go, or whose networks are cleared before others may have them.
    removed: tuple[Step, ...] = ()
    cleared: tuple[Step, ...] = ()
    set: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.removed + self.cleared + self.set

    def commands(self, interface: str) -> Iterator[list[str]]:
        """`wg` command lines, each of bounded length."""
        steps = iter(self.steps)
        while batch := list(islice(steps, MAX_STEPS_PER_COMMAND)):
            yield ["wg", "set", interface, *(word for step in batch for word in step.arguments())]


def difference(
    actual: Mapping[str, Peer], wanted: Mapping[str, str], endpoints: Mapping[str, str] | None = None
) -> Difference:
    """From `actual` to `wanted` (public key to the one network that it may use). Untouched is what is right.

    `endpoints` says where peers that have to be added were seen last, so that the hub can reach them before
    they speak. Raises ValueError where two peers want the same network.
    """
    if len(set(wanted.values())) != len(wanted):
        raise ValueError("two peers want the same network")
    known = endpoints or {}
    gone = [key for key in actual if key not in wanted]
    wrong = [key for key in wanted if key not in actual or actual[key].allowed != {wanted[key]}]
    # Only a peer that itself changes can hold what another one wants: whoever is right keeps its own.
    given = {wanted[key] for key in wrong}
    clear = [
        key for key in wrong if key in actual and not actual[key].allowed.isdisjoint(given - {wanted[key]})
    ]
    return Difference(
        removed=tuple(Step(key, None) for key in gone),
        cleared=tuple(Step(key, "") for key in clear),
        set=tuple(Step(key, wanted[key], None if key in actual else known.get(key)) for key in wrong),
    )


def parse_dump(text: str) -> Interface:
    """Raises UnreadableDump."""
    lines = text.splitlines()
    if not lines:
        raise UnreadableDump("wg printed nothing")
    head = lines[0].split("\t")
    if len(head) != 4 or not head[2].isdecimal():
        raise UnreadableDump(f"the first line has {len(head)} fields where 4 are known")
    return Interface(
        public_key=None if head[1] == NONE else head[1],
        listen_port=int(head[2]),
        peers=dict(_peer(line) for line in lines[1:]),
    )


def _peer(line: str) -> tuple[str, Peer]:
    # public key, preshared key, endpoint, allowed networks, handshake, received, sent, keepalive
    fields = line.split("\t")
    if len(fields) != 8:
        raise UnreadableDump(f"a peer's line has {len(fields)} fields where 8 are known")
    allowed = frozenset() if fields[3] == NONE else frozenset(fields[3].split(","))
    return fields[0], Peer(allowed, None if fields[2] == NONE else fields[2])
