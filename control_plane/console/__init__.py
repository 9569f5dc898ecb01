"""The console: pages for people, decided on the server and live in the browser.

A *viewer* is who looks: signed in as a user of one tenant, or as the operator. A *page* is a module of its
own with its routes; `pages.py` is the table of them and of who may see each. A *feed* renders what changes
on a page once for all of its viewers.
"""

from control_plane.console.console import Console, ConsoleParts
from control_plane.console.oidc import Provider, load_oidc

__all__ = ["Console", "ConsoleParts", "Provider", "load_oidc"]
