"""vLLM's log in words: progress while it loads, the cause when it ends."""

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine.loading import BEGUN, advance, cause

LOG = """\
(APIServer pid=1) INFO 11-23 23:45:18 [model.py:733] Resolved architecture: LlamaForCausalLM
(EngineCore pid=2) INFO 11-23 23:45:26 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config
(Worker pid=3) INFO 11-23 23:45:36 [cpu_model_runner.py:68] Starting to load model /m...
Loading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]
Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]
(Worker pid=3) INFO 11-23 23:45:36 [default_loader.py:501] Loading weights took 0.00 seconds
(EngineCore pid=2) INFO 11-23 23:45:37 [kv_cache_utils.py:2327] CPU KV cache size: 2,097,152 tokens, Maximum
(EngineCore pid=2) INFO 11-23 23:45:40 [core.py:402] init engine (profile, create kv cache) took 3.00 s
INFO:     Application startup complete.
"""


def test_progress_climbs_line_by_line_and_names_what_happens() -> None:
    progress, percents = BEGUN, []
    for line in LOG.splitlines():
        progress = advance(progress, line)
        percents.append(progress.percent)
    assert percents == [15, 30, 45, 45, 60, 75, 80, 90, 95]
    assert progress.words == "probing it with a token"


def test_progress_never_goes_back() -> None:
    late = advance(BEGUN, LOG)
    assert advance(late, LOG.splitlines()[0]) == late


def test_weights_are_what_loading_means() -> None:
    assert BEGUN.phase == agent_pb2.ENGINE_PHASE_STARTING
    assert advance(BEGUN, LOG).phase == agent_pb2.ENGINE_PHASE_LOADING


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("OSError: [Errno 98] Address already in use", "port is taken"),
        ("OSError: [Errno 99] Cannot assign requested address", "tunnel"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of memory"),
        ("ValueError: No available memory for the cache blocks.", "out of memory"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "damaged"),
        ("/engine/bin/python: Error while finding module: No module named 'vllm'", "no vLLM"),
        ("RuntimeError: Failed to infer device type", "nvidia-smi"),
        ("RuntimeError: another engine writes the journal in /state/journal", "still runs"),
    ],
)
def test_known_causes_are_told_with_a_way_out(line: str, words: str) -> None:
    assert words in cause(1, f"{LOG}{line}\n")


# What vLLM and the libraries under it print, with the prefixes of its processes; names made up.
_CORE = "(EngineCore pid=17374) ERROR 09-28 15:47:24 [core.py:718] "


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            [
                _CORE
                + "ValueError: Free memory on device (3.22/16.0 GiB) on startup is less than desired GPU"
                " memory utilization (0.92, 14.72 GiB). Decrease it or reduce GPU memory used"
                " by other processes.",
                "RuntimeError: Engine core initialization failed. See root cause above.",
            ],
            "another program holds memory",
        ),
        (
            [
                _CORE
                + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.63 GiB. GPU 0 has a total"
                " capacity of 15.70 GiB of which 565.31 MiB is free.",
            ],
            "choose a smaller model",
        ),
        (
            [
                _CORE
                + "ValueError: To serve at least one request with the models's max seq len (40960), (5.62 GiB"
                " KV cache is needed, which is larger than the available KV cache memory (1.15 GiB).",
            ],
            "choose a smaller model or context",
        ),
        (
            [
                "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-0;0)",
                "Cannot access gated repo for url https://hub.example/o/m/config.json.",
                "OSError: You are trying to access a gated repo.",
                "OSError: Can't load the configuration of 'o/m'.",
            ],
            "download was refused: the model's repository is gated",
        ),
        (
            [
                "(APIServer pid=2960) huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error.",
                "(APIServer pid=2960) Repository Not Found for url: https://hub.example/o/m/config.json.",
                "(APIServer pid=2960) Invalid username or password.",
                "OSError: o/m is not a local folder and is not a valid model identifier",
            ],
            "HF_TOKEN",
        ),
        (
            [
                "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. (Request ID: Root=1-0;0)",
                "Revision Not Found for url: https://hub.example/o/m/resolve/abc/config.json.",
            ],
            "no such revision",
        ),
        (
            ["huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url"],
            "too many requests",
        ),
        (["RuntimeError: Data processing error: No space left on device (os error 28)"], "disk is full"),
        (
            ["(EngineCore pid=9) OSError: [Errno 28] No space left on device: '/dev/shm/psm_0'"],
            "out of memory",
        ),
        (
            [
                _CORE + '  File "/v/model_loader/weight_utils.py", line 406, in safetensors_weights_iterator',
                _CORE
                + "safetensors_rust.SafetensorError: Error while deserializing: MetadataIncompleteBuffer",
            ],
            "weights are damaged",
        ),
        (
            [_CORE + "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"],
            "weights are damaged",
        ),
        (
            [_CORE + "RuntimeError: Cannot find any model weights with `/models/m`"],
            "weights are damaged or incomplete",
        ),
        (
            [
                "ERROR:    [Errno 98] error while attempting to bind on address: address already in use",
            ],
            "port is taken",
        ),
    ],
)
def test_what_vllm_prints_when_it_cannot_load_is_told_by_its_cause(lines: list[str], words: str) -> None:
    assert words in cause(1, LOG + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "memory runs out"), (-11, "SIGSEGV"), (3, "status 3"), (None, "nobody watched")],
)
def test_what_the_log_does_not_say_the_exit_does(status: int | None, words: str) -> None:
    assert words in cause(status, LOG)
