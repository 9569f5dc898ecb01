"""Settings of the agent, read once into a frozen value: defaults, then file, environment and flags.

Every value has one name: `rpc_port` in the file is DAALU_AGENT_RPC_PORT and `--rpc-port`. The engine's
environment is a table in the file and `--engine-environment NAME=VALUE` on the command line.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT_FILE = Path("/etc/daalu-agent/agent.toml")
ENVIRONMENT_PREFIX = "DAALU_AGENT_"
LOG_LEVELS = ("debug", "info", "warning", "error")
# An interface name's limit in the kernel, its final zero byte left out.
INTERFACE_NAME_LIMIT = 15

_INTERFACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,14}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the agent sets itself: with other values the engine runs without its gate, or open to its neighbours.
_NOT_THE_OWNERS = frozenset({"DAALU_GATE_CONFIG", "PYTHONPATH", "PYTHONSAFEPATH", "VLLM_HOST_IP"})


class ConfigError(Exception):
    """A setting cannot be used; the text names where it stands, which it is and what is accepted."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What the host's owner decides."""

    # Holds identity, keys and what survives restarts; 0700.
    state: Path = Path("/var/lib/daalu-agent")
    # The tunnel's network interface; unique on the machine.
    interface: str = "daalu-agent"
    # The daemon's TCP port, told to the control plane at enrolment; afterwards the enrolled one holds.
    rpc_port: int = 7443
    # The engine's TCP port; the same holds for it.
    engine_port: int = 7400
    # The Python of the engine's own environment.
    engine_python: Path = Path("/opt/daalu-agent/engine/bin/python")
    # Where models named by a directory lie, and downloads go.
    models: Path = Path("/var/lib/daalu-agent/models")
    # Catalogue entries of the owner's own, beside those that ship with the product.
    catalogue: Path | None = None
    # Report a made-up card of this name in place of real ones; it is labelled simulated everywhere.
    simulated_card: str | None = None
    # The least that the daemon logs.
    log_level: str = "info"
    # Added to the engine's environment, e.g. VLLM_CPU_KVCACHE_SPACE=1.
    engine_environment: Mapping[str, str] = field(default_factory=dict)


NAMES = tuple(item.name for item in fields(AgentConfig))


def load_config(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object | None]
) -> AgentConfig:
    """`file` None reads DEFAULT_FILE if there is one; a file that was named must exist. None flags are unset.

    Raises ConfigError.
    """
    values: dict[str, Any] = {}
    path = file or DEFAULT_FILE
    if file is not None or _exists(path):
        for name, value in _read(path).items():
            values[name] = _parse(name, value, f"{path}: {name}")
    for name in NAMES:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if name != "engine_environment" and variable in environment:
            values[name] = _parse(name, environment[variable], variable)
    for name, value in flags.items():
        if value is None:
            continue
        parsed = _parse(name, value, "--" + name.replace("_", "-"))
        values[name] = {**values.get(name, {}), **parsed} if name == "engine_environment" else parsed
    config = AgentConfig(**values)
    if config.rpc_port == config.engine_port:
        raise ConfigError(f"rpc_port and engine_port are both {config.rpc_port}: give two different ports")
    return config


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML ({error})") from error
    for name in content:
        if name not in NAMES:
            raise ConfigError(f"{path}: {name}: no such setting; accepted are {', '.join(NAMES)}")
    return content


def _parse(name: str, value: object, where: str) -> Any:
    accepted, parse = _PARSERS[name]
    try:
        return parse(value)
    except ValueError:
        raise ConfigError(f"{where}: {value!r} will not do; accepted is {accepted}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _directory(value: object) -> Path:
    if isinstance(value, Path):
        value = str(value)
    path = Path(_text(value))
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError(value)
    return path


def _optional_directory(value: object) -> Path | None:
    return None if value in ("", "none") else _directory(value)


def _port(value: object) -> int:
    port = -1 if isinstance(value, bool) or not isinstance(value, int | str) else int(value)
    if not 1 <= port <= 65535:
        raise ValueError(value)
    return port


def _interface(value: object) -> str:
    if not _INTERFACE.fullmatch(_text(value)):
        raise ValueError(value)
    return _text(value)


def _card(value: object) -> str | None:
    return None if value == "none" else _text(value)


def _log_level(value: object) -> str:
    if value not in LOG_LEVELS:
        raise ValueError(value)
    return _text(value)


def _variables(value: object) -> dict[str, str]:
    if isinstance(value, list | tuple):
        pairs = [_text(item).partition("=") for item in value]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError(value)
        value = {name: content for name, _, content in pairs}
    if not isinstance(value, dict):
        raise ValueError(value)  # noqa: TRY004 - one error for every way in which a setting is wrong
    for name, content in value.items():
        if name in _NOT_THE_OWNERS or not _VARIABLE.fullmatch(name):
            raise ValueError(value)
        if not isinstance(content, str) or "\0" in content:
            raise ValueError(value)
    return dict(value)


_PARSERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "state": ("an absolute path", _directory),
    "interface": (f"letters, digits, - and _, at most {INTERFACE_NAME_LIMIT}", _interface),
    "rpc_port": ("a port, 1 to 65535", _port),
    "engine_port": ("a port, 1 to 65535", _port),
    "engine_python": ("an absolute path", _directory),
    "models": ("an absolute path", _directory),
    "catalogue": ("an absolute path, or none", _optional_directory),
    "simulated_card": ("a card's name, or none", _card),
    "log_level": (f"one of {', '.join(LOG_LEVELS)}", _log_level),
    "engine_environment": (
        f"NAME=VALUE, text, but for what the agent sets itself ({', '.join(sorted(_NOT_THE_OWNERS))})",
        _variables,
    ),
}
