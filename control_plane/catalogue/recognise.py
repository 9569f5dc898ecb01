"""Which class a card is of, from what NVML says of it. Pure."""

import re
from collections.abc import Iterable

from control_plane.catalogue.card_class import CardClass, Description, Form

_MIB = 1024**2
_GIB = 1024**3
# A made-up card bears the name of a class, and of no product.
_SIMULATED = re.compile(r"^simulated +", re.IGNORECASE)


def recognise(
    descriptions: Iterable[Description],
    name: str | None,
    memory_bytes: int | None,
    compute_capability: str | None,
) -> CardClass | None:
    """None stands for what the driver did not say, and is returned where too little is known.

    Name, memory and compute capability must all agree with a description, as far as they are known;
    otherwise the class is derived from memory and compute capability, and is not `known`.
    """
    if name is not None:
        agreeing = [
            each.card_class
            for each in descriptions
            if _is_named(each, name)
            and _has_memory(each, memory_bytes)
            and compute_capability in (None, each.card_class.compute_capability)
        ]
        # Two descriptions can only agree where the memory that tells them apart is not known.
        if len(agreeing) == 1:
            return agreeing[0]
    return None if memory_bytes is None else _derived(name, memory_bytes, compute_capability)


def _is_named(description: Description, name: str) -> bool:
    spoken = _plain(_SIMULATED.sub("", name))
    if spoken != _plain(name):
        return spoken == _plain(description.card_class.name)
    return any(spoken == _plain(each) for each in description.nvml_names)


def _has_memory(description: Description, memory_bytes: int | None) -> bool:
    if memory_bytes is None:
        return True
    return description.memory_mib_least <= memory_bytes / _MIB <= description.memory_mib_most


def _derived(name: str | None, memory_bytes: int, compute_capability: str | None) -> CardClass:
    gib = max(1, round(memory_bytes / _GIB))
    chip = f"sm{compute_capability.replace('.', '')}" if compute_capability else "sm-unknown"
    return CardClass(
        id=f"untested-{gib}gib-{chip}",
        name=name or f"a card with {gib} GiB",
        form=_form(name or ""),
        compute_capability=compute_capability,
        known=False,
    )


def _form(name: str) -> Form:
    plain = _plain(name)
    if "laptop" in plain or "mobile" in plain:
        return Form.LAPTOP
    return Form.MAX_Q if "max-q" in plain else Form.DESKTOP


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
