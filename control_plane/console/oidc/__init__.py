"""Signing in by an identity provider (OpenID Connect), beside the password.

The *provider* says who somebody is, by an e-mail address that it verified; what they may do here is said
here. A *flow* is one sign-in from the link to the answer; its secrets are in a cookie of the browser that
began it.
"""

from control_plane.console.oidc.provider import Provider
from control_plane.console.oidc.settings import OidcSettings, load_oidc

__all__ = ["OidcSettings", "Provider", "load_oidc"]
