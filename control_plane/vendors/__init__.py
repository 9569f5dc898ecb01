"""Vendors: who serves calls of the tier `external`, by the operator's configuration.

A *vendor* speaks OpenAI's API at one base URL and knows the operator by a *key*. It serves *models*: what our
clients ask for is the served name, what the vendor is asked for its own name; each has a price. The file that
says all this is read once, at start; `docs/vendors.md` describes it.
"""

from control_plane.vendors.base_url import BaseUrl, parse_base_url
from control_plane.vendors.fields import Fields
from control_plane.vendors.key import key_from_file
from control_plane.vendors.load import load_vendors
from control_plane.vendors.vendor import Vendor, VendorModel, Vendors, VendorWaits

__all__ = [
    "BaseUrl",
    "Fields",
    "Vendor",
    "VendorModel",
    "VendorWaits",
    "Vendors",
    "key_from_file",
    "load_vendors",
    "parse_base_url",
]
