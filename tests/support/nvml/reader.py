"""A program that answers `sample`, `inventory` and `resident` on standard input, a line of JSON each."""

import asyncio
import json
import os
import sys
from pathlib import Path

from daalu_wire.v1 import agent_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from agent.cards import NvmlReader


def main() -> None:
    asyncio.run(_serve(NvmlReader(float(sys.argv[1]), kernel_log=Path(sys.argv[2]))))


async def _serve(reader: NvmlReader) -> None:
    loop = asyncio.get_running_loop()
    while question := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        match question:
            case "sample":
                system, samples = await reader.sample()
                _answer(agent_pb2.TelemetrySample(card_system=system, cards=samples))
            case "inventory":
                system, cards = await reader.inventory()
                _answer(agent_pb2.GetInventoryResponse(card_system=system, cards=cards))
            case "resident":
                print(_resident_bytes(), flush=True)
    reader.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _answer(message: Message) -> None:
    print(json.dumps(json_format.MessageToDict(message)), flush=True)


if __name__ == "__main__":
    main()
