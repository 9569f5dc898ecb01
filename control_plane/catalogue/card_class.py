"""One card class: from a file's text to a checked value. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from control_plane.catalogue.entry import InvalidEntry

CLASS_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CAPABILITY = r"\d{1,2}\.\d"
MAX_MEMORY_MIB = 4 * 1024 * 1024


class Form(StrEnum):
    """What a card is built into. The same chip is another card where it has less power to spend."""

    DESKTOP = "desktop"
    LAPTOP = "laptop"
    MAX_Q = "max_q"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class CardClass:
    """What a card is, as far as serving models goes."""

    id: str
    name: str
    form: Form
    # As NVML says it, e.g. "8.9"; None: it did not say.
    compute_capability: str | None
    # The link of the card itself, under load; None: not known, or it differs from host to host.
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    # False: derived from what the card reports, because no file describes it. Nobody has tried it.
    known: bool = True


@dataclass(frozen=True, slots=True)
class Description:
    """A class, and how a card of it is recognised. `file` says where it stands, for messages."""

    card_class: CardClass
    nvml_names: tuple[str, ...]
    memory_mib_least: int
    memory_mib_most: int
    file: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)

    id: str = Field(pattern=CLASS_ID)
    name: str = Field(min_length=1, max_length=80)
    nvml_names: list[str] = Field(min_length=1, max_length=16)
    # With ECC on, cards with GDDR memory report a sixteenth less than they have.
    memory_mib_least: int = Field(gt=0, le=MAX_MEMORY_MIB)
    memory_mib_most: int = Field(gt=0, le=MAX_MEMORY_MIB)
    compute_capability: str = Field(pattern=_CAPABILITY)
    form: Form = Field(strict=False)
    pcie_generation: int | None = Field(default=None, ge=1, le=9)
    pcie_lanes: int | None = Field(default=None, ge=1, le=32)

    @model_validator(mode="after")
    def _ordered(self) -> "_File":
        if self.memory_mib_least > self.memory_mib_most:
            raise ValueError("memoryMibLeast is above memoryMibMost")
        return self


def parse_description(text: str, *, file: str, expected_id: str) -> Description:
    """Reads and checks one. `expected_id` is what the file's name says its id is. Raises InvalidEntry."""
    try:
        read = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise InvalidEntry(file, field, first["msg"]) from error
    if read.id != expected_id:
        raise InvalidEntry(file, "id", f"is {read.id!r}, but the file's name says {expected_id!r}")
    found = CardClass(
        read.id, read.name, read.form, read.compute_capability, read.pcie_generation, read.pcie_lanes
    )
    return Description(found, tuple(read.nvml_names), read.memory_mib_least, read.memory_mib_most, file)
