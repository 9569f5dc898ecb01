"""`python -m demo`, as scripts/demo calls it when everything is installed."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import openai

from demo.tour import Tour, say
from tests.support.namespaces import LabError
from tests.support.netlab import Lab
from tests.support.networks import Internet, Loopback
from tests.support.product import AgentOptions
from tests.support.programs import ProgramFailed
from tests.support.system import System

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--mode", choices=("tunnel", "direct"), required=True)
    parser.add_argument("--engine-python", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="the directory that holds the model's")
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()
    options = AgentOptions(engine_python=arguments.engine_python, models=arguments.models)
    ending = _Ending()
    for number in _ENDING:
        signal.signal(number, ending.ask)
    shown = False
    try:
        with tempfile.TemporaryDirectory(prefix="daalu-demo-") as directory, Lab() as lab:
            network = Loopback(lab) if arguments.mode == "direct" else Internet(lab, on_machine=True)
            with System(lab, network, Path(directory)) as system, _undisturbed_end():
                tour = Tour(system, options)
                tour.run()
                shown = True
                if not arguments.once:
                    say(tour.invitation())
                    signal.pause()
    except KeyboardInterrupt:
        return _interrupted(shown=shown)
    except (LabError, ProgramFailed, TimeoutError, openai.OpenAIError) as error:
        # A terminal's Ctrl-C ends the program that the demo waits for as well: its failure is no other news.
        # What the lab says is: it may have left something.
        if ending.asked and not isinstance(error, LabError):
            return _interrupted(shown=shown)
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _interrupted(*, shown: bool) -> int:
    say("ended; nothing is left behind")
    return 0 if shown else INTERRUPTED


class _Ending:
    """The first signal ends the demo; those after it do not disturb the clean-up."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        _ignore_endings()
        raise KeyboardInterrupt


@contextmanager
def _undisturbed_end() -> Iterator[None]:
    try:
        yield
    finally:
        _ignore_endings()


def _ignore_endings() -> None:
    # Inherited by the commands that clean up: a terminal's Ctrl-C reaches them too.
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
