"""GET /install/NAME: a release's files to whoever asks. Nothing in them is secret."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from control_plane.install.release import MANIFEST, PUBLIC_KEY, SIGNATURE, Release

INSTALL_PATH = "/install"
# A host fetches one file at a time. More are asked to come back; curl does.
MAX_DOWNLOADS_AT_ONCE = 32
# 30 MB at 32 KiB/s.
DOWNLOAD_TIMEOUT_S = 1000.0
RETRY_AFTER_S = 5


class _Download(FileResponse):
    """A file that is given up on, with its connection, when it does not get away in time."""

    def __init__(self, path: Path, places: asyncio.Semaphore) -> None:
        super().__init__(path, media_type="application/octet-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._places, asyncio.timeout(DOWNLOAD_TIMEOUT_S):
            await super().__call__(scope, receive, send)


def artifact_routes(release: Release) -> APIRouter:
    routes = APIRouter()
    places = asyncio.Semaphore(MAX_DOWNLOADS_AT_ONCE)
    # As read and verified at the start, whatever becomes of the directory.
    small = {
        MANIFEST: release.manifest_bytes,
        SIGNATURE: release.signature,
        PUBLIC_KEY: f"{release.public_key}\n".encode(),
    }

    @routes.get(INSTALL_PATH + "/{name}", include_in_schema=False)
    async def artifact(name: str) -> Response:
        if name in small:
            return Response(small[name], media_type="application/octet-stream")
        found = release.manifest.find(name)
        if found is None:
            raise HTTPException(404, "the release has no such file")
        if places.locked():
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(503, "too many downloads at once: try again", headers)
        return _Download(release.directory / found.name, places)

    return routes
