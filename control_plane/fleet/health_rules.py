"""When a card is not well: every rule, its limits and what to do about it, in one table.

A rule looks at one *measure* of a card. It is raised when the measure has been at or above `raise_at` for
`raise_after_s`, and taken back when it has been below `clear_below` for `clear_after_s`. A measure that the
card does not support, or that could not be read, is no evidence: it neither raises nor takes back.
"""

from dataclasses import dataclass
from enum import StrEnum

SHORT_S = 4.0
CALM_S = 6.0


class Health(StrEnum):
    """How well a card, or the worst card of an agent, is."""

    # Nothing that could tell has been read.
    UNKNOWN = "unknown"
    GOOD = "good"
    WARNING = "warning"
    # Serves no pool call any more.
    CRITICAL = "critical"


class Measure(StrEnum):
    """What rules look at; the values are shown as the finding's subject."""

    TEMPERATURE = "temperature"
    MEMORY = "memory"
    ECC = "ecc"
    RETIRED_PAGES = "retired_pages"
    REMAPPED_ROWS = "remapped_rows"
    THERMAL_SLOWDOWN = "thermal_slowdown"
    POWER_BRAKE = "power_brake"
    # Of no rule here: what an owner's limit looks at.
    POWER = "power"
    PCIE_WIDTH = "pcie_width"
    PCIE_GENERATION = "pcie_generation"
    LOST = "lost"
    XID_FATAL = "xid_fatal"
    XID = "xid"
    DRIVER = "driver"


@dataclass(frozen=True, slots=True)
class Rule:
    """`evidence` is filled with `value`, `limit` and `said`: the driver's own words, where there are any."""

    code: str
    measure: Measure
    health: Health
    raise_at: float
    clear_below: float
    evidence: str
    advice: str
    raise_after_s: float = SHORT_S
    clear_after_s: float = CALM_S


_HOT = "look at the fans, the dust and the air around the card; lower its power limit until it is cooler"
_PCIE = "seat the card again; look at riser, slot and the BIOS's setting of the link"
_REPLACE = "plan to replace the card: its memory wears out"
_SLOW = "the card runs below its clock, and calls take longer"

RULES: tuple[Rule, ...] = (
    Rule(
        "temperature_high",
        Measure.TEMPERATURE,
        Health.WARNING,
        85,
        82,
        "{value:.0f} °C, from {limit:.0f} °C it is too warm",
        _HOT,
    ),
    Rule(
        "temperature_critical",
        Measure.TEMPERATURE,
        Health.CRITICAL,
        90,
        85,
        "{value:.0f} °C, from {limit:.0f} °C it is in danger",
        _HOT,
    ),
    Rule(
        "memory_full",
        Measure.MEMORY,
        Health.WARNING,
        97,
        95,
        "{value:.1f} % of its memory is in use, from {limit:.0f} % on the next allocation may fail",
        "see what else uses the card (nvidia-smi); the engine alone takes 92 %",
    ),
    # Counted since the driver was loaded. One is enough: an answer may have been wrong.
    Rule(
        "ecc_uncorrected",
        Measure.ECC,
        Health.CRITICAL,
        1,
        1,
        "{value:.0f} memory errors could not be corrected since the driver was loaded",
        "drain the host, reset the card (nvidia-smi --gpu-reset, or restart); if they come back, replace it",
        raise_after_s=0,
    ),
    Rule(
        "pages_retired",
        Measure.RETIRED_PAGES,
        Health.WARNING,
        1,
        1,
        "{value:.0f} pages of its memory are retired",
        "watch whether they grow; from 60 on the maker replaces the card",
    ),
    # NVIDIA's own threshold for a replacement (Dynamic Page Retirement, RMA policy).
    Rule(
        "pages_retired_many",
        Measure.RETIRED_PAGES,
        Health.CRITICAL,
        60,
        60,
        "{value:.0f} pages of its memory are retired, the maker's limit is {limit:.0f}",
        _REPLACE,
    ),
    Rule(
        "rows_remapped",
        Measure.REMAPPED_ROWS,
        Health.WARNING,
        1,
        1,
        "{value:.0f} rows of its memory are remapped",
        "watch whether they grow; " + _REPLACE,
    ),
    # Shares of the time of late, in per cent: one slow moment is no fault.
    Rule(
        "thermal_slowdown",
        Measure.THERMAL_SLOWDOWN,
        Health.WARNING,
        25,
        10,
        "slowed down for its heat {value:.0f} % of the time of late",
        f"{_SLOW}: {_HOT}",
    ),
    Rule(
        "power_brake",
        Measure.POWER_BRAKE,
        Health.WARNING,
        10,
        4,
        "slowed down by the power brake {value:.0f} % of the time of late",
        f"{_SLOW}: look at the power supply and its cables",
    ),
    # Measured in what is missing: lanes, and generations while the card works.
    Rule("pcie_narrow", Measure.PCIE_WIDTH, Health.WARNING, 1, 1, "{said}", _PCIE),
    Rule("pcie_slow", Measure.PCIE_GENERATION, Health.WARNING, 1, 1, "{said}", _PCIE),
    Rule(
        "card_lost",
        Measure.LOST,
        Health.CRITICAL,
        1,
        1,
        "the driver has lost the card: {said}",
        "restart the host; if it comes back, look at power cables and slot, then replace the card",
        raise_after_s=0,
    ),
    # Of the last day: what is older, nobody can act on any more.
    Rule(
        "xid_error",
        Measure.XID,
        Health.WARNING,
        1,
        1,
        "the driver complained in the kernel's log: {said}",
        "look up the code in NVIDIA's list of Xid errors; if it comes again, reset the card and watch it",
        raise_after_s=0,
    ),
    Rule(
        "xid_fatal",
        Measure.XID_FATAL,
        Health.CRITICAL,
        1,
        1,
        "the driver gave up on the card, says the kernel's log: {said}",
        "drain the host and restart it; if the code comes again, replace the card",
        raise_after_s=0,
    ),
    Rule(
        "driver_mismatch",
        Measure.DRIVER,
        Health.CRITICAL,
        1,
        1,
        "{said}",
        "restart the host: library and kernel module are of different versions, no engine can start",
    ),
)
