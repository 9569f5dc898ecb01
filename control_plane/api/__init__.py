"""The control plane over HTTP: the REST interface for operators, and the listeners that everything shares.

The *intake* demands the operator's token and bounds every request before it is parsed. A *listener* is one
address, TLS or plain, whose *guarded protocol* bounds the heads of requests to all applications alike.
"""

from control_plane.api.application import ApiParts, build_api
from control_plane.api.intake import Application
from control_plane.api.listeners import CannotListen, Listener, plain_listener, tls_listener

__all__ = [
    "ApiParts",
    "Application",
    "CannotListen",
    "Listener",
    "build_api",
    "plain_listener",
    "tls_listener",
]
