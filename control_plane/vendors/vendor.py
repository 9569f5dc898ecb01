"""Vendors as values."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from control_plane.economy import PriceTerms
from control_plane.vendors.base_url import BaseUrl

DEFAULT_CONNECTIONS = 256


@dataclass(frozen=True, slots=True)
class VendorModel:
    """One model at one vendor."""

    vendor: str
    # What our clients ask for, and what the vendor calls it.
    served_name: str
    vendors_name: str
    context_tokens: int
    # For each choice.
    max_output_tokens: int
    price: PriceTerms
    # The only field in which the model takes its output limit; None: the one that the client used.
    limit_field: str | None = None


@dataclass(frozen=True, slots=True)
class VendorWaits:
    """In seconds; each like the limit of the same name for engines."""

    # Resolving, connecting and TLS together.
    connect_s: float = 5.0
    first_content_s: float = 120.0
    stream_gap_s: float = 60.0
    whole_answer_s: float = 600.0
    # Shorter than any vendor keeps an unused connection, as far as known.
    idle_connection_s: float = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Vendor:
    """Compared by identity: there is one for each entry of the file."""

    name: str
    url: BaseUrl
    # Never shown: not by repr, not in a message.
    key: str = field(repr=False)
    # None: plain HTTP, on loopback only.
    tls: ssl.SSLContext | None = field(repr=False)
    # By served name.
    models: Mapping[str, VendorModel]
    waits: VendorWaits = VendorWaits()
    # Open at once, from each process.
    connections: int = DEFAULT_CONNECTIONS


@dataclass(frozen=True)
class Vendors:
    """All of them, in the order of the file, which is the order in which they are tried."""

    all: tuple[Vendor, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Vendor]:
        return MappingProxyType({vendor.name: vendor for vendor in self.all})

    @cached_property
    def _serving(self) -> Mapping[str, tuple[VendorModel, ...]]:
        found: dict[str, tuple[VendorModel, ...]] = {}
        for vendor in self.all:
            for name, model in vendor.models.items():
                found[name] = (*found.get(name, ()), model)
        return found

    def serving(self, model: str) -> tuple[VendorModel, ...]:
        """Every vendor's offer for a model, by its served name, in the order in which to try them."""
        return self._serving.get(model, ())

    @cached_property
    def models(self) -> Mapping[str, int]:
        """Served names, and the largest context that a vendor has for each."""
        return {name: max(offer.context_tokens for offer in offers) for name, offers in self._serving.items()}
