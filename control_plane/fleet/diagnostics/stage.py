"""A stage of the pipeline from a card to the page: how it is looked at, timed, and told."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from control_plane.fleet.diagnostics.finding import MAX_WORDS_CHARACTERS, Evidence, Finding, Verdict

logger = logging.getLogger(__name__)

STAGE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stage came to."""

    verdict: Verdict
    saw: str
    advice: str = ""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    title: str
    look: Callable[[], Awaitable[Seen]]


async def look(stage: Stage) -> Finding:
    """Never raises for what the stage does: that is a finding too."""
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(STAGE_TIMEOUT_S):
            seen = await stage.look()
    except TimeoutError:
        words = f"did not end within {STAGE_TIMEOUT_S:.0f} s"
        seen = Seen(Verdict.FAIL, words, "see the control plane's log, and whether its host is overloaded")
    except Exception:
        logger.exception("the stage %r failed itself", stage.name)
        words = "a defect in the stage itself; the control plane's log has the details"
        seen = Seen(Verdict.NOT_AVAILABLE, words)
    return Finding(
        check=stage.name,
        title=stage.title,
        verdict=seen.verdict,
        saw=seen.saw[:MAX_WORDS_CHARACTERS],
        advice=seen.advice,
        duration_ms=round((time.monotonic() - began_s) * 1000),
        evidence=seen.evidence,
    )
