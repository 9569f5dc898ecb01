"""Where agents were seen last, kept over restarts of the hub.

An idle agent behind a NAT sends keepalives under a session that a new interface does not know, and begins
another one only when that is two minutes old (WireGuard's REKEY_AFTER_TIME). A hub that remembers where it
was speaks first, and the tunnel is back at once.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)


def load_endpoints(path: Path) -> dict[str, str]:
    """Public key to host and port. Empty where the file is missing or of no use: it only saves time."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s is of no use and will be replaced: %s", path, error)
        return {}
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        logger.warning("%s is of no use and will be replaced", path)
        return {}
    return content


def save_endpoints(path: Path, endpoints: Mapping[str, str]) -> None:
    """Replaces the file in one step. A failure is logged only."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(endpoints))
        temporary.replace(path)
    except OSError as error:
        logger.warning("agents' endpoints cannot be kept: %s", error)
