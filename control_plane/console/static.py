"""The files that pages are made with: our own script and style, and nothing from elsewhere."""

import hashlib
from pathlib import Path

from fastapi import APIRouter, Response

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOLDER = Path(__file__).parent / "static"
_FILES = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
# In their addresses, so that a browser keeps them until they change.
VERSION = hashlib.sha256(b"".join(_FILES[name] for name in sorted(_FILES))).hexdigest()[:12]


def static_routes() -> APIRouter:
    routes = APIRouter()

    @routes.get("/console/static/{version}/{name}")
    async def file(version: str, name: str) -> Response:
        content = _FILES.get(name)
        if content is None:
            return Response(status_code=404)
        kept = "public, max-age=31536000, immutable" if version == VERSION else "no-store"
        return Response(content, media_type=_TYPES[Path(name).suffix], headers={"cache-control": kept})

    return routes
