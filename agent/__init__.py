"""daalu-agent: the daemon on a GPU host.

`main` wires the rooms, and nothing else knows all of them: `identity` (keys, certificate, what enrolment
answered), `enrolment` (claiming an invite), `tunnel` (the WireGuard link to the hub), `cards` (what the
hardware reports), `engine` (vLLM and its gate), `rpc` (what the control plane calls), `status` (what
`daalu-agent status` shows).
"""

from importlib import metadata

try:
    VERSION = metadata.version("daalu-ai-factory")
except metadata.PackageNotFoundError:
    VERSION = "0+unpackaged"
