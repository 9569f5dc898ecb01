"""What this host is, for the inventory."""

import os
import platform
import socket

from daalu_wire.v1 import agent_pb2

from agent import VERSION


def describe_host() -> agent_pb2.GetInventoryResponse:
    """Without cards, catalogue and clock. Reads a few small files."""
    return agent_pb2.GetInventoryResponse(
        agent_version=VERSION,
        host_name=socket.gethostname(),
        operating_system=_operating_system(),
        kernel_release=platform.release(),
        cpu_count=os.cpu_count() or 0,
        memory_total_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
