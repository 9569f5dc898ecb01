"""The gateway's other surfaces: OpenAI's Responses and Anthropic's Messages.

A *surface* is an API that clients call in place of chat completions. Its requests are *translated* to chat
completions when they come in, and the chat answer is translated back as it goes out, so that planning,
holds, metering, counting and settlement know one kind of call. A chat answer is read as *steps*: *parts* of
text, reasoning, refusal or a tool's call that are opened, grow and are closed, one at a time.
"""

from control_plane.gateway.surfaces.client import SurfaceClient
from control_plane.gateway.surfaces.surface import SURFACES, Surface, nothing_here, surface_of

__all__ = ["SURFACES", "Surface", "SurfaceClient", "nothing_here", "surface_of"]
