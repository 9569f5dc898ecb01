"""What vLLM's log says: how far loading is, and why it ended. Pure.

The texts are those of vLLM 0.32; one that changed costs a less exact message, nothing else.
"""

import re
import signal
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

STARTING = agent_pb2.ENGINE_PHASE_STARTING
LOADING = agent_pb2.ENGINE_PHASE_LOADING


@dataclass(frozen=True, slots=True)
class Progress:
    phase: agent_pb2.EnginePhase.ValueType
    percent: int
    words: str


BEGUN = Progress(STARTING, 1, "starting vLLM")

_STEPS = (
    (re.compile(r"Resolved architecture"), Progress(STARTING, 15, "reading the model's configuration")),
    (re.compile(r"Initializing a V1 LLM engine"), Progress(STARTING, 30, "starting the engine's core")),
    (re.compile(r"Starting to load model"), Progress(LOADING, 45, "loading weights")),
    (re.compile(r"Loading weights took"), Progress(LOADING, 75, "weights are loaded")),
    (re.compile(r"KV cache size"), Progress(LOADING, 80, "warming up")),
    (re.compile(r"init engine \("), Progress(LOADING, 90, "starting the server")),
    (re.compile(r"Application startup complete"), Progress(LOADING, 95, "probing it with a token")),
)
_SHARDS = re.compile(r"Loading \S+ checkpoint shards:\s+(\d{1,3})% Completed")


def advance(before: Progress, text: str) -> Progress:
    """Progress after more of the log; never backwards."""
    found = [step for pattern, step in _STEPS if pattern.search(text)]
    found += [
        Progress(LOADING, 45 + int(shards[1]) * 30 // 100, "loading weights")
        for shards in _SHARDS.finditer(text)
    ]
    return max([before, *found], key=lambda progress: progress.percent)


_CAUSES = (
    # Before what follows from it: vLLM goes on to say that it finds no such model.
    (
        r"RevisionNotFoundError|Revision Not Found",
        "the download was refused: the model's repository has no such revision; mend the catalogue's entry",
    ),
    (
        (
            r"GatedRepoError|[Gg]ated repo|RepositoryNotFoundError|Repository Not Found"
            r"|40[13] Client Error|Invalid username or password"
        ),
        (
            "the download was refused: the model's repository is gated, private or not there; give the engine"
            " a token that may read it (HF_TOKEN under [engine_environment]), or put the model on this host"
        ),
    ),
    (
        r"429 Client Error|Too Many Requests",
        "the download was refused: too many requests from here; try again later",
    ),
    (
        r"No space left on device(?!.*shm)|Not enough free disk space",
        "the disk is full: free some of it, or give models another directory",
    ),
    (
        r"Free memory on device .* is less than desired GPU memory",
        "out of memory: another program holds memory of the card; nvidia-smi shows which, end it",
    ),
    (
        r"Address already in use|address already in use|\[Errno 98\]",
        "its port is taken by another program: stop that, or change engine_port",
    ),
    (
        r"[Cc]annot assign requested address|\[Errno 99\]",
        "its address is not on this host: is the tunnel up?",
    ),
    (
        (
            r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks"
            r"|DefaultCPUAllocator"
            r"|Cannot allocate memory|MemoryError|larger than the available KV cache memory"
            r"|less than desired GPU memory|No space left on device.*shm"
        ),
        "out of memory: choose a smaller model or context, or free memory on this host",
    ),
    (
        (
            r"SafetensorError|Error while deserializing|HeaderTooLarge|MetadataIncompleteBuffer|size mismatch"
            r"|shape mismatch|PytorchStreamReader|were not initialized from checkpoint"
            r"|Cannot find any model weights"
        ),
        "the model's weights are damaged or incomplete: put the model there again",
    ),
    (
        r"No module named '?vllm|ModuleNotFoundError: No module named 'vllm",
        "its Python environment has no vLLM: make the engine environment again",
    ),
    (r"No module named 'daalu_gate|DAALU_GATE_CONFIG", "its gate could not be loaded: reinstall the agent"),
    (r"another engine writes the journal", "another engine of this agent still runs"),
    (
        (
            r"CUDA driver version is insufficient|no CUDA-capable device|NVML Shared Library Not Found"
            r"|Failed to infer device type"
        ),
        "it finds no usable card: check the driver with nvidia-smi",
    ),
    (
        (
            r"Invalid repository ID|does not appear to have a file named|Unrecognized model"
            r"|Can't load the config|not supported for now|Tokenizer class .* does not exist"
        ),
        "the model's directory is not a model that this vLLM knows",
    ),
    (
        r"Connection error|Name or service not known|ConnectTimeout|LocalEntryNotFoundError",
        "the model could not be fetched: check this host's way to the internet",
    ),
)


def cause(exit_status: int | None, log_tail: str) -> str:
    """Why the engine ended, in words. Minus a signal's number where one ended it; None: nobody could wait."""
    for pattern, words in _CAUSES:
        if re.search(pattern, log_tail):
            return words
    if exit_status is None:
        return "it ended while nobody watched"
    if exit_status == -signal.SIGKILL:
        return "it was killed (SIGKILL), as the kernel does when memory runs out: see `dmesg`"
    if exit_status < 0:
        return f"it was ended by {signal.Signals(-exit_status).name}"
    return f"it ended with status {exit_status}"
