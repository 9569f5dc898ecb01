"""`daalu init`, `serve` and `hub`: what runs on the control plane's own machine.

What they need is imported when they run: the other commands start four times faster without it.
"""
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data
from control_plane.config import (
    Address,
    DataDirectory,
    InvalidSetting,
    Settings,
    load_settings,
    parse_plain_address,
    public_host,
    sqlite_url,
)

DEFAULT_LISTEN = "0.0.0.0:8443"
DEFAULT_PLAIN = "127.0.0.1:8080"
DEFAULT_HUB_PORT = 51820
DEFAULT_INTERFACE = "daalu-hub"

PublicUrl = Annotated[
    str | None, typer.Option("--public-url", help="Where clients and agents reach this, https://host:port.")
]
Listen = Annotated[str | None, typer.Option("--listen", help=f"HTTPS [default: {DEFAULT_LISTEN}]")]
ListenPlain = Annotated[
    str | None,
    typer.Option("--listen-plain", help=f"HTTP on loopback, or none [default: {DEFAULT_PLAIN}]"),
]
HubEndpoint = Annotated[
    str | None,
    typer.Option("--hub-endpoint", help="Where agents reach the hub, host:port [default: the URL's host]"),
]
HubPort = Annotated[int | None, typer.Option("--hub-port", help=f"UDP [default: {DEFAULT_HUB_PORT}]")]
HubInterface = Annotated[
    str | None,
    typer.Option("--hub-interface", help=f"The WireGuard interface's name [default: {DEFAULT_INTERFACE}]"),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="postgresql+psycopg://… [default: SQLite in the data directory]"),
]
AllowDirect = Annotated[
    bool | None,
    typer.Option("--allow-direct/--no-allow-direct", help="Agents without a tunnel, on loopback only."),
]
CatalogueDirectory = Annotated[
    Path | None, typer.Option("--catalogue", help="A directory of catalogue entries of your own.")
]
Artifacts = Annotated[
    Path | None,
    typer.Option("--artifacts", help="A signed release (scripts/release) for hosts to install from."),
]
VendorsFile = Annotated[
    Path | None,
    typer.Option("--vendors", help="The external tier's vendors [default: vendors.toml in the directory]"),
]
LoadClientPython = Annotated[
    Path | None,
    typer.Option("--load-client", help="The Python of an environment with vLLM in it, for load tests."),
]
NetworkIpv4 = Annotated[
    str | None,
    typer.Option("--network-ipv4", help="Tunnel addresses from this network, where IPv6 is off."),
]
LogLevel = Annotated[str, typer.Option("--log-level", envvar="DAALU_LOG_LEVEL", help="debug, info, …")]


def register(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("serve")(serve)
    app.command("hub")(hub)


def init(
    data: Data = DATA,
    public_url: PublicUrl = None,
    listen: Listen = None,
    listen_plain: ListenPlain = None,
    hub_endpoint: HubEndpoint = None,
    hub_port: HubPort = None,
    hub_interface: HubInterface = None,
    database_url: DatabaseUrl = None,
    allow_direct: AllowDirect = None,
    catalogue: CatalogueDirectory = None,
    artifacts: Artifacts = None,
    vendors: VendorsFile = None,
    load_client: LoadClientPython = None,
    network_ipv4: NetworkIpv4 = None,
) -> None:
    """Makes the data directory: settings, keys, database. Again: completes it and changes nothing."""
    from sqlalchemy.exc import SQLAlchemyError

    from control_plane.cli.initialise import initialise
    from control_plane.enrolment import AuthorityUnusable
    from control_plane.store import DatabaseIsNewer
    from control_plane.tunnel import UnusableNetwork

    given = {
        "public_url": public_url,
        "listen": listen,
        "listen_plain": listen_plain,
        "hub_endpoint": hub_endpoint,
        "hub_port": hub_port,
        "hub_interface": hub_interface,
        "database_url": database_url,
        "allow_direct": allow_direct,
        "catalogue": catalogue,
        "artifacts": artifacts,
        "vendors": vendors,
        "load_client": load_client,
    }
    try:
        settings = _settings_to_write(data, given)
        made = initialise(settings, network_ipv4)
    except (InvalidSetting, UnusableNetwork, AuthorityUnusable, DatabaseIsNewer) as error:
        raise Failure(str(error)) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Failure(f"the database cannot be used: {reason}") from error
    except OSError as error:
        raise Failure(f"{error.filename or data}: {error.strerror}") from error
    for path in made:
        print(f"made {path}")
    if not made:
        print(f"{data} was complete already; nothing was changed")


def serve(
    data: Data = DATA,
    public_url: PublicUrl = None,
    listen: Listen = None,
    listen_plain: ListenPlain = None,
    hub_endpoint: HubEndpoint = None,
    database_url: DatabaseUrl = None,
    allow_direct: AllowDirect = None,
    catalogue: CatalogueDirectory = None,
    artifacts: Artifacts = None,
    vendors: VendorsFile = None,
    load_client: LoadClientPython = None,
    log_level: LogLevel = "info",
) -> None:
    """Runs the control plane until SIGTERM or Ctrl-C. Flags replace what config.toml says."""
    from control_plane import main
    from control_plane.logs import set_up_logging

    settings = _loaded(
        data,
        {
            "public_url": public_url,
            "listen": listen,
            "listen_plain": listen_plain,
            "hub_endpoint": hub_endpoint,
            "database_url": database_url,
            "allow_direct": allow_direct,
            "catalogue": catalogue,
            "artifacts": artifacts,
            "vendors": vendors,
            "load_client": load_client,
        },
    )
    set_up_logging(_level(log_level))
    try:
        main.serve(settings)
    except main.CannotServe as error:
        raise Failure(str(error)) from error


def hub(
    data: Data = DATA,
    hub_port: HubPort = None,
    hub_interface: HubInterface = None,
    database_url: DatabaseUrl = None,
    log_level: LogLevel = "info",
) -> None:
    """Keeps the tunnel's interface and firewall rules equal to the agents enrolled. Needs root."""
    from control_plane import main
    from control_plane.logs import set_up_logging

    settings = _loaded(
        data, {"hub_port": hub_port, "hub_interface": hub_interface, "database_url": database_url}
    )
    set_up_logging(_level(log_level))
    try:
        main.hub(settings)
    except main.CannotServe as error:
        raise Failure(str(error)) from error


def _loaded(data: Path, given: dict[str, Any]) -> Settings:
    try:
        return load_settings(data, **_parsed(given))
    except InvalidSetting as error:
        raise Failure(str(error)) from error


def _settings_to_write(data: Path, given: dict[str, Any]) -> Settings:
    """What a first run writes. Where settings are there, a flag that differs from them is refused."""
    flags = _parsed(given)
    DataDirectory(data).check_not_half_restored()
    if DataDirectory(data).config.exists():
        written = load_settings(data)
        for name, value in flags.items():
            if getattr(written, name) != value:
                flag = "--" + name.replace("_", "-")
                raise Failure(f"{flag} differs from {data}/config.toml, which stays as it is: edit it there")
        return written
    if "public_url" not in flags:
        raise Failure("say where clients and agents will reach this: --public-url https://host:port")
    hub_port = flags.get("hub_port", DEFAULT_HUB_PORT)
    host = public_host(flags["public_url"])
    defaults = {
        "database_url": sqlite_url(data),
        "listen": Address.parse(DEFAULT_LISTEN),
        "listen_plain": parse_plain_address(DEFAULT_PLAIN),
        "hub_endpoint": str(Address(host, hub_port)),
        "hub_port": hub_port,
        "hub_interface": DEFAULT_INTERFACE,
        "allow_direct": False,
        "catalogue": None,
        "artifacts": None,
        "vendors": None,
    }
    return Settings(data=data, **(defaults | flags))


def _parsed(given: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, by the names of settings. Raises InvalidSetting."""
    parsed = {name: value for name, value in given.items() if value is not None}
    if "listen" in parsed:
        parsed["listen"] = Address.parse(parsed["listen"])
    if "listen_plain" in parsed:
        parsed["listen_plain"] = parse_plain_address(parsed["listen_plain"])
    for name in parsed.keys() & {"artifacts", "catalogue", "vendors"}:
        parsed[name] = parsed[name].absolute()
    return parsed


def _level(name: str) -> str:
    if name.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise Failure(f"there is no log level {name!r}: use debug, info, warning or error")
    return name
