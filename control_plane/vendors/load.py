"""Reads the vendors' file. A file with any fault is refused as a whole, so that none is found by a call."""

import os
import re
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path

from control_plane.config import InvalidSetting
from control_plane.economy import MOST_PRICE_MICRO_USD_PER_MTOK, PriceTerms
from control_plane.vendors.base_url import BaseUrl, parse_base_url
from control_plane.vendors.fields import Fields
from control_plane.vendors.key import key_from_environment, key_from_file
from control_plane.vendors.vendor import DEFAULT_CONNECTIONS, Vendor, VendorModel, Vendors, VendorWaits

MOST_FILE_BYTES = 1024 * 1024
MOST_VENDORS = 50
MOST_MODELS = 500
MOST_CONTEXT_TOKENS = 100_000_000
MOST_WAIT_S = 3_600.0
MOST_CONNECTIONS = 10_000
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


def load_vendors(
    named: Path | None, *, default: Path, environment: Mapping[str, str] = os.environ
) -> Vendors:
    """From `named`, which must be there, or else from `default` if that is. Raises InvalidSetting."""
    path = named or default
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        if named is None:
            return Vendors()
        raise InvalidSetting(f"{path} is not there: make it, or leave the setting vendors out") from None
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MOST_FILE_BYTES:
        raise InvalidSetting(f"{path} is larger than {MOST_FILE_BYTES} bytes")
    try:
        written = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not valid TOML: {error}") from None
    root = Fields(str(path), written)
    vendors: dict[str, Vendor] = {}
    for position, table in enumerate(root.tables("vendor", MOST_VENDORS), 1):
        vendor = _vendor(path, position, table, environment)
        if vendor.name in vendors:
            raise InvalidSetting(f"{path}: two vendors are called {vendor.name!r}: give each its own name")
        vendors[vendor.name] = vendor
    root.end()
    return Vendors(tuple(vendors.values()))


def _vendor(path: Path, position: int, table: object, environment: Mapping[str, str]) -> Vendor:
    fields = Fields(f"{path}: vendor {position}", table)
    name = fields.text("name")
    if not _NAME.match(name):
        fields.refuse("name", "must be 1 to 40 small letters, digits and dashes, with no dash at its ends")
    fields.where = f"{path}: vendor {name}"
    url = _url(fields)
    key = _key(fields, path.parent, environment)
    tls = _tls(fields, path.parent, url)
    standard = VendorWaits()
    waits = VendorWaits(
        connect_s=fields.seconds("connect_s", most=60.0, default=standard.connect_s),
        first_content_s=fields.seconds("first_content_s", most=MOST_WAIT_S, default=standard.first_content_s),
        stream_gap_s=fields.seconds("stream_gap_s", most=MOST_WAIT_S, default=standard.stream_gap_s),
        whole_answer_s=fields.seconds("whole_answer_s", most=MOST_WAIT_S, default=standard.whole_answer_s),
        idle_connection_s=fields.seconds("idle_connection_s", most=600.0, default=standard.idle_connection_s),
    )
    connections = fields.whole("connections", least=1, most=MOST_CONNECTIONS, default=DEFAULT_CONNECTIONS)
    models: dict[str, VendorModel] = {}
    for number, each in enumerate(fields.tables("model", MOST_MODELS), 1):
        model = _model(Fields(f"{fields.where}, model {number}", each), name)
        if model.served_name in models:
            fields.refuse("model", f"has the served_name {model.served_name!r} twice")
        models[model.served_name] = model
    fields.end()
    return Vendor(name, url, key, tls, models, waits, connections)


def _url(fields: Fields) -> BaseUrl:
    text = fields.text("base_url")
    try:
        return parse_base_url(text)
    except InvalidSetting as error:
        fields.refuse("base_url", str(error))


def _key(fields: Fields, beside: Path, environment: Mapping[str, str]) -> str:
    if fields.has("key"):
        fields.refuse(
            "key", "must not stand in this file: put it into a file of mode 0600 and name that in key_file"
        )
    in_file, in_environment = fields.optional_text("key_file"), fields.optional_text("key_environment")
    if (in_file is None) is (in_environment is None):
        fields.refuse("key_file or key_environment", "must say where the key is: one of the two")
    try:
        if in_file is not None:
            return key_from_file(beside / in_file)
        return key_from_environment(str(in_environment), environment)
    except InvalidSetting as error:
        fields.refuse("key_file" if in_file is not None else "key_environment", f"cannot be used: {error}")


def _tls(fields: Fields, beside: Path, url: BaseUrl) -> ssl.SSLContext | None:
    ca_file = fields.optional_text("ca_file")
    if not url.tls:
        if ca_file is not None:
            fields.refuse("ca_file", "has no use with plain http")
        return None
    path = None if ca_file is None else beside / ca_file
    try:
        # With a file, nothing else is trusted; without one, what the system trusts.
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        fields.refuse("ca_file", f"cannot be used: {path} has no certificates in PEM form")
    except OSError as error:
        fields.refuse("ca_file", f"cannot be used: {path}: {error.strerror}")
    context.set_alpn_protocols(["http/1.1"])
    return context


def _model(fields: Fields, vendor: str) -> VendorModel:
    served_name = fields.text("served_name")
    fields.where += f" ({served_name})"
    context = fields.whole("context_tokens", least=1, most=MOST_CONTEXT_TOKENS)
    limit_field = fields.optional_text("limit_field")
    if limit_field not in (None, *LIMIT_FIELDS):
        fields.refuse("limit_field", f"must be {' or '.join(LIMIT_FIELDS)}")
    model = VendorModel(
        vendor=vendor,
        served_name=served_name,
        vendors_name=fields.text("vendors_name"),
        context_tokens=context,
        max_output_tokens=fields.whole("max_output_tokens", least=1, most=context),
        price=_price(fields),
        limit_field=limit_field,
    )
    fields.end()
    return model


def _price(fields: Fields) -> PriceTerms:
    """Required, so that nothing is free by accident: who wants zero writes it."""
    into, out = (
        fields.whole(f"{which}_micro_usd_per_mtok", least=0, most=MOST_PRICE_MICRO_USD_PER_MTOK)
        for which in ("input", "output")
    )
    # Cached input has a price of its own on operator cards only.
    return PriceTerms(into, out, into)
