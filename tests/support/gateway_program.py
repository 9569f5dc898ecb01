"""A gateway in a process of its own, over an engine and a store of the test's: for what several processes do
at once.

Run as a module with the database's URL and the engine's port. Prints the URL that it serves on, and serves
until its input ends; each line of input makes it look for its siblings and print how many gateways live.
"""

import asyncio
import sys

from control_plane.gateway import Siblings
from control_plane.store import Store
from tests.support.gateway import engine_view, serving
from tests.support.market import operators_card


async def _serve(url: str, engine_port: int) -> None:
    store = Store(url)
    siblings = Siblings(store)
    card = operators_card(engine_port, engine=engine_view(max_running_calls=1_000))
    try:
        async with serving(store, card, rows=False, processes=lambda: siblings.count) as front:
            print(front.url, flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                await siblings.look()
                print(siblings.count, flush=True)
    finally:
        store.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
