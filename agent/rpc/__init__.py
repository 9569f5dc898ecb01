"""What the control plane calls: the gRPC server of AgentService.

The *server* listens on the agent's tunnel address with mutual TLS. *Admission* lets one peer in: the hub's
tunnel address with the control plane's name in its certificate; everybody else is refused, and logged.
*Shown credentials* are what the server presents in a handshake: a renewed certificate is used from the next
one on, and once the own certificate has expired a self-signed one with the same key stands in, over which
nothing but a renewal is answered. *Refusals* are the one table from this program's errors to gRPC's.
"""

from agent.rpc.ports import CredentialStore, EngineFacade
from agent.rpc.server import AgentServer, CannotListen

__all__ = ["AgentServer", "CannotListen", "CredentialStore", "EngineFacade"]
