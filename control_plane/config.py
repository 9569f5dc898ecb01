"""Settings of the control plane, read once into a frozen value, and where its files lie."""

import ipaddress
import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import urlsplit

DEFAULT_DATA = Path("/var/lib/daalu")
# Linux's limit on the name of a network interface.
MAX_INTERFACE_CHARACTERS = 15
DEFAULT_TELEMETRY_MIB = 2_048
# As long as any call may take.
DEFAULT_DRAIN_LIMIT_S = 7_200
MAX_DRAIN_LIMIT_S = 86_400
MIN_TELEMETRY_MIB = 16
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")


class InvalidSetting(ValueError):
    """A setting that cannot be used. The message names it and says what is expected."""


class Address(NamedTuple):
    """A TCP address to listen on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From host:port or [address]:port. Raises InvalidSetting."""
        host, separator, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        bracketed = host != bare
        if not separator or not bare or (":" in bare) != bracketed or not port.isdecimal():
            raise InvalidSetting(f"{text!r} is not an address: write host:port or [address]:port")
        if not 0 < int(port) < 65536:
            raise InvalidSetting(f"{text!r}: ports go from 1 to 65535")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The files of docs/architecture.md, by name."""

    root: Path

    # In `staging`: a restore has begun to put files into place.
    READY: ClassVar[str] = "ready"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def database(self) -> Path:
        return self.root / "daalu.db"

    @property
    def telemetry(self) -> Path:
        return self.root / "telemetry.db"

    @property
    def authority(self) -> Path:
        return self.root / "authority"

    @property
    def tls_key(self) -> Path:
        return self.root / "tls" / "server.key"

    @property
    def tls_certificate(self) -> Path:
        return self.root / "tls" / "server.pem"

    @property
    def hub_key(self) -> Path:
        return self.root / "hub" / "private.key"

    @property
    def vendors(self) -> Path:
        return self.root / "vendors.toml"

    @property
    def oidc(self) -> Path:
        return self.root / "oidc.toml"

    @property
    def ticket_secret(self) -> Path:
        return self.root / "ticket-secret"

    @property
    def operator_token(self) -> Path:
        return self.root / "operator-token"

    @property
    def staging(self) -> Path:
        """What `daalu restore` has checked and not put into place yet."""
        return self.root / "restore.partial"

    def check_not_half_restored(self) -> None:
        """Raises InvalidSetting."""
        if (self.staging / self.READY).exists():
            raise InvalidSetting(
                f"a restore into {self.root} was broken off: run the same `daalu restore` again, it goes on"
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """What `daalu init` wrote to config.toml, with the flags and environment of this start on top."""

    # Where everything in docs/architecture.md lies.
    data: Path
    # SQLAlchemy form: sqlite:////var/lib/daalu/daalu.db or postgresql+psycopg://user@host/name
    database_url: str
    # Where agents and clients reach `listen` from outside, e.g. https://control.example:8443
    public_url: str
    # The TCP address of HTTPS, host:port or [address]:port.
    listen: Address
    # Plain HTTP, on loopback only; off where it is written as none.
    listen_plain: Address | None
    # Where agents reach the hub from outside, host and UDP port, e.g. control.example:51820
    hub_endpoint: str
    # The UDP port that the hub listens on.
    hub_port: int
    # The name of the hub's WireGuard interface, at most 15 characters, unique on the machine.
    hub_interface: str
    # Accept agents without a tunnel, on loopback only.
    allow_direct: bool
    # Catalogue entries of the operator's own, beside those that ship with the product.
    catalogue: Path | None
    # What telemetry's history may take of the disk; a card takes 1.5 MiB.
    telemetry_mib: int = DEFAULT_TELEMETRY_MIB
    # How long a model that is to go waits for its running calls, in seconds; what runs on then is cut off.
    drain_limit_s: int = DEFAULT_DRAIN_LIMIT_S
    # A signed release, as scripts/release lays it, for hosts to install from.
    artifacts: Path | None = None
    # The vendors of the external tier; None: vendors.toml in the data directory, where it is there.
    vendors: Path | None = None
    # The Python of an environment with vLLM in it, for load tests, which need `catalogue` too; None: no load
    # tests.
    load_client: Path | None = None

    @property
    def directory(self) -> DataDirectory:
        return DataDirectory(self.data)


def checked(settings: Settings) -> Settings:
    """The settings as they are. Raises InvalidSetting for the first that cannot be used."""
    public_host(settings.public_url)
    if settings.listen_plain == settings.listen:
        raise InvalidSetting(f"listen and listen_plain are both {settings.listen}: they need a port each")
    if settings.listen_plain is not None and not settings.listen_plain.is_loopback:
        raise InvalidSetting(
            f"listen_plain {settings.listen_plain}: plain HTTP is served on loopback only, because keys would"
            " travel readable; use listen (HTTPS), 127.0.0.1, [::1] or none"
        )
    if not settings.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
        # Not shown: there may be a password in it.
        raise InvalidSetting(
            "database_url: only SQLite and PostgreSQL are supported, as sqlite:///path or"
            " postgresql+psycopg://user@host/name"
        )
    if settings.load_client is not None and settings.catalogue is None:
        raise InvalidSetting(
            "load_client needs a catalogue: inputs are made by the tokenizers in <catalogue>/tokenizers"
        )
    Address.parse(settings.hub_endpoint)
    if not 0 < settings.hub_port < 65536:
        raise InvalidSetting(f"hub_port {settings.hub_port}: ports go from 1 to 65535")
    name = settings.hub_interface
    if not 0 < len(name) <= MAX_INTERFACE_CHARACTERS or not name.replace("-", "").isalnum():
        raise InvalidSetting(
            f"hub_interface {name!r}: 1 to {MAX_INTERFACE_CHARACTERS} letters, digits and dashes"
        )
    if settings.telemetry_mib < MIN_TELEMETRY_MIB:
        raise InvalidSetting(f"telemetry_mib {settings.telemetry_mib}: {MIN_TELEMETRY_MIB} MiB or more")
    if not 0 <= settings.drain_limit_s <= MAX_DRAIN_LIMIT_S:
        raise InvalidSetting(f"drain_limit_s {settings.drain_limit_s}: 0 to {MAX_DRAIN_LIMIT_S} seconds")
    return settings


def public_host(public_url: str) -> str:
    """The host of a public URL. Raises InvalidSetting for anything but https://host:port."""
    try:
        url = urlsplit(public_url)
        host, port = url.hostname or "", url.port
    except ValueError:
        host, port = "", None
    # Compared with itself put together anew: user names, paths and the like have no place in it.
    whole = f"https://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
    if port == 0 or not is_host(host) or public_url.lower().removesuffix("/") != whole:
        raise InvalidSetting(
            f"public_url {public_url!r}: write https://host:port and nothing more"
            " (a host that is not in ASCII as xn--…)"
        )
    return host


def load_settings(data: Path, *, half_restored: bool = False, **overrides: Any) -> Settings:
    """Settings of an initialised data directory; `overrides` replace what is written there.

    Raises InvalidSetting, which also stands for a missing or broken config.toml, and for a directory that is
    half restored unless that is allowed.
    """
    path = DataDirectory(data).config
    if not half_restored:
        DataDirectory(data).check_not_half_restored()
    try:
        written = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidSetting(f"{path} is not there: run `daalu init --data {data}` first") from None
    except PermissionError:
        raise InvalidSetting(f"{path} cannot be read: run as the user who ran `daalu init`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not valid TOML: {error}") from error
    settings = _parsed(path, data, written)
    return checked(replace(settings, **overrides))


def settings_toml(settings: Settings) -> str:
    """The text of config.toml. The data directory itself is not in it, so that it can be moved."""
    values: dict[str, object] = {
        "public_url": settings.public_url,
        "listen": str(settings.listen),
        "listen_plain": str(settings.listen_plain) if settings.listen_plain else "none",
        "hub_endpoint": settings.hub_endpoint,
        "hub_port": settings.hub_port,
        "hub_interface": settings.hub_interface,
        "allow_direct": settings.allow_direct,
    }
    if settings.database_url != sqlite_url(settings.data):
        values["database_url"] = settings.database_url
    if settings.catalogue is not None:
        values["catalogue"] = str(settings.catalogue)
    if settings.telemetry_mib != DEFAULT_TELEMETRY_MIB:
        values["telemetry_mib"] = settings.telemetry_mib
    if settings.drain_limit_s != DEFAULT_DRAIN_LIMIT_S:
        values["drain_limit_s"] = settings.drain_limit_s
    if settings.artifacts is not None:
        values["artifacts"] = str(settings.artifacts)
    if settings.vendors is not None:
        values["vendors"] = str(settings.vendors)
    if settings.load_client is not None:
        values["load_client"] = str(settings.load_client)
    # JSON's strings, integers and booleans are TOML's too.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def sqlite_url(data: Path) -> str:
    """The default database of a data directory."""
    return f"sqlite:///{DataDirectory(data.absolute()).database}"


def parse_plain_address(text: str) -> Address | None:
    """As Address.parse, and "none" for no plain listener."""
    return None if text == "none" else Address.parse(text)


def is_host(text: str) -> bool:
    """A DNS name or an address."""
    if _HOST_NAME.match(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_TYPES: dict[str, type] = {
    "public_url": str,
    "listen": str,
    "listen_plain": str,
    "hub_endpoint": str,
    "hub_port": int,
    "hub_interface": str,
    "allow_direct": bool,
    "database_url": str,
    "catalogue": str,
    "telemetry_mib": int,
    "drain_limit_s": int,
    "artifacts": str,
    "vendors": str,
    "load_client": str,
}
_OPTIONAL = {
    "database_url",
    "catalogue",
    "telemetry_mib",
    "drain_limit_s",
    "artifacts",
    "vendors",
    "load_client",
}


def _parsed(path: Path, data: Path, written: dict[str, object]) -> Settings:
    for name in written.keys() - _TYPES.keys():
        raise InvalidSetting(f"{path}: there is no setting {name!r}")
    for name, kind in _TYPES.items():
        if name not in written and name not in _OPTIONAL:
            raise InvalidSetting(f"{path}: {name} is missing")
        if name in written and type(written[name]) is not kind:
            raise InvalidSetting(f"{path}: {name} must be a {kind.__name__}")
    catalogue, artifacts = written.get("catalogue"), written.get("artifacts")
    vendors, load_client = written.get("vendors"), written.get("load_client")
    return Settings(
        data=data,
        database_url=str(written.get("database_url", sqlite_url(data))),
        public_url=str(written["public_url"]),
        listen=Address.parse(str(written["listen"])),
        listen_plain=parse_plain_address(str(written["listen_plain"])),
        hub_endpoint=str(written["hub_endpoint"]),
        hub_port=int(str(written["hub_port"])),
        hub_interface=str(written["hub_interface"]),
        allow_direct=written["allow_direct"] is True,
        catalogue=Path(str(catalogue)) if catalogue is not None else None,
        telemetry_mib=int(str(written.get("telemetry_mib", DEFAULT_TELEMETRY_MIB))),
        drain_limit_s=int(str(written.get("drain_limit_s", DEFAULT_DRAIN_LIMIT_S))),
        artifacts=Path(str(artifacts)) if artifacts is not None else None,
        vendors=Path(str(vendors)) if vendors is not None else None,
        load_client=Path(str(load_client)) if load_client is not None else None,
    )
