"""Templates to answers. Everything is escaped unless a template's own macro made it."""

from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from control_plane.console import words
from control_plane.console.door import FORM_TOKEN
from control_plane.console.pages import Page, pages_of
from control_plane.console.static import VERSION
from control_plane.console.viewer import Viewer


class Rendering:
    def __init__(self, *, identity_provider: str | None = None) -> None:
        """`identity_provider`: what the one that people may sign in with is called."""
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {"static": f"/console/static/{VERSION}", "form_token_field": FORM_TOKEN}
        self._environment.globals["identity_provider"] = identity_provider
        self._environment.filters |= words.FILTERS

    def page(
        self, viewer: Viewer, page: Page, template: str, *, status: int = 200, **values: Any
    ) -> Response:
        """One of the console's pages, with its navigation."""
        text = self.part(template, viewer=viewer, page=page, pages=pages_of(viewer), **values)
        return HTMLResponse(text, status)

    def bare(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page for who is not signed in."""
        return HTMLResponse(self.part(template, **values), status)

    def message(self, status: int, text: str) -> Response:
        return self.bare("message.html", status=status, text=text)

    def part(self, template: str, **values: Any) -> str:
        """The text of a template, for a piece of a page."""
        return self._environment.get_template(template).render(**values)
