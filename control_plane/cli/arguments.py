"""What commands are told by position, with the words that explain it."""

from typing import Annotated

import typer

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="An agent's name or id.")]
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="A tenant's name or id.")]
PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="A pool's name or id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called.")]
UserArgument = Annotated[
    str, typer.Argument(metavar="USER", help="A user's id, as `daalu users list` has it.")
]
TestArgument = Annotated[str, typer.Argument(metavar="TEST", help="A load test's id.")]
