"""Logging: one line for each event, as key=value pairs on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime

# What every record has; anything else in it was given as a field of the event (`extra=`).
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+@[]")


class KeyValueFormatter(logging.Formatter):
    """Quotes what is not a plain word, so that no value can end a line or forge a field."""

    def format(self, record: logging.LogRecord) -> str:
        pairs: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        pairs |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            pairs["error"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_value(value)}" for name, value in pairs.items())


def set_up_logging(level: str = "INFO") -> None:
    """For the whole process. `level` as logging names it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # One line for each migration step and each upstream request is too many.
    for noisy in ("alembic", "asyncio", "httpx2", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _value(value: object) -> str:
    text = str(value)
    return text if text and _BARE.issuperset(text) else json.dumps(text)
