"""What fits on which card: against an engine's own figures, published reports, and plain arithmetic."""

from dataclasses import dataclass

import pytest
from daalu_wire.v1 import catalogue_pb2

from control_plane.catalogue import CardFacts, Catalogue, Obstacle, fit, smallest_fit
from control_plane.catalogue.fit import GIB, kv_bytes_per_token
from control_plane.catalogue.weights import weights_bytes

MIB = 1024**2
CATALOGUE = Catalogue.load()


def shipped(model_id: str, context_tokens: int | None = None) -> catalogue_pb2.Model:
    entry = CATALOGUE.get(model_id)
    assert entry is not None
    found = catalogue_pb2.Model()
    found.CopyFrom(entry.model)
    found.context_tokens = context_tokens or found.context_tokens
    return found


def described(
    parameters: int, shape: tuple[int, int, int, int, int], quantization: str = "", calls: int = 256
) -> catalogue_pb2.Model:
    """`shape`: layers, KV heads, head size, hidden size, vocabulary. Embeddings are not tied."""
    layers, heads, size, hidden, vocabulary = shape
    return catalogue_pb2.Model(
        parameters_count=parameters,
        architecture=catalogue_pb2.Architecture(
            layers_count=layers,
            kv_heads_count=heads,
            head_size=size,
            hidden_size=hidden,
            vocabulary_size=vocabulary,
        ),
        dtype="bfloat16",
        quantization=quantization,
        max_running_calls=calls,
    )


LLAMA_8B = described(8_030_261_248, (32, 8, 128, 4096, 128_256))
LLAMA_70B_FP8 = described(70_553_706_496, (80, 8, 128, 8192, 128_256), "fp8")
QWEN25_14B = described(14_770_033_664, (48, 8, 128, 5120, 152_064))
QWEN25_VL_72B = described(73_410_777_344, (80, 8, 128, 8192, 152_064))
QWEN15_7B_INT4 = described(7_721_324_544, (32, 32, 128, 4096, 151_936), "gptq")
QWEN15_32B_INT4 = described(32_512_218_112, (64, 8, 128, 5120, 152_064), "gptq")
QWEN3_30B_INT4 = described(30_532_122_624, (48, 4, 128, 2048, 151_936), "moe_wna16", calls=8)
QWEN3_30B = described(30_532_122_624, (48, 4, 128, 2048, 151_936))
QWEN3_235B_FP8 = described(235_093_634_560, (94, 4, 128, 4096, 151_936), "fp8")
QWEN3_4B = shipped("qwen3-4b-instruct-2507")
CODER_30B = shipped("qwen3-coder-30b-a3b-instruct-fp8")

# Memory as the reports have it, or as NVML gives it.
RTX_3090, RTX_4090, RTX_5090 = int(23.58 * GIB), 24_564 * MIB, 32_607 * MIB
L4, H100, A100_40 = 23_034 * MIB, int(79.22 * GIB), int(39.38 * GIB)
RTX_2000_ADA, RTX_2000_ADA_ECC, RTX_6000_ADA_ECC = 16_380 * MIB, 15_356 * MIB, 46_068 * MIB


@dataclass(frozen=True)
class Pair:
    model: catalogue_pb2.Model
    card: int
    context: int
    fits: bool
    # A thread at github.com with vLLM's own log lines or outcome; None: arithmetic only.
    report: str | None
    count: int = 1
    share: float = 0.9


PAIRS = {
    "Llama 3.1 8B, 20k, RTX 3090": Pair(LLAMA_8B, RTX_3090, 20_000, True, "vllm-project/vllm#10517"),
    "Llama 3.1 8B, 35k, RTX 3090": Pair(LLAMA_8B, RTX_3090, 35_000, True, "vllm-project/vllm#10517"),
    "Llama 3 8B, H100": Pair(LLAMA_8B, H100, 8_192, True, "vllm-project/vllm#10511"),
    "Llama 3 8B, 2 H100": Pair(LLAMA_8B, H100, 8_192, True, "vllm-project/vllm#10511", 2),
    "Qwen2.5 14B, 128k, 2 RTX 4090": Pair(
        QWEN25_14B, RTX_4090, 131_072, False, "vllm-project/vllm#13061", 2, 0.98
    ),
    "Qwen3 235B FP8, 4 H100": Pair(QWEN3_235B_FP8, H100, 40_960, True, "vllm-project/vllm#21348", 4),
    "Qwen3 30B 4-bit, RTX 3090": Pair(QWEN3_30B_INT4, RTX_3090, 40_960, True, "vllm-project/vllm#17327"),
    "Qwen3 Coder 30B FP8, RTX 5090": Pair(
        CODER_30B, RTX_5090, 16_384, False, "vllm-project/vllm#41695", 1, 0.95
    ),
    "Llama 3.3 70B FP8, 16k, H100": Pair(
        LLAMA_70B_FP8, H100, 16_000, False, "llm-d/llm-d-benchmark#621", 1, 0.95
    ),
    "Qwen1.5 7B 4-bit, 32k, RTX 3090": Pair(QWEN15_7B_INT4, RTX_3090, 32_768, False, "QwenLM/Qwen3#16"),
    "Qwen1.5 32B 4-bit, 4k, RTX 4090": Pair(QWEN15_32B_INT4, RTX_4090, 4_000, True, "vllm-project/vllm#3872"),
    "Qwen3 4B, 32k, L4": Pair(QWEN3_4B, L4, 32_768, True, "vllm-project/vllm#49050"),
    "Qwen2.5 VL 72B, 4 A100": Pair(QWEN25_VL_72B, A100_40, 32_768, False, "vllm-project/vllm#16570", 4, 0.95),
    "8B general 4-bit, RTX 2000 Ada": Pair(shipped("qwen3-8b-awq"), RTX_2000_ADA, 32_768, True, None),
    "8B general 16-bit, RTX 2000 Ada": Pair(shipped("qwen3-8b"), RTX_2000_ADA, 2_048, False, None),
    "14B coder 4-bit, RTX 2000 Ada with ECC": Pair(
        shipped("qwen2.5-coder-14b-instruct-awq"), RTX_2000_ADA_ECC, 12_288, True, None
    ),
    "32B 4-bit, RTX 2000 Ada": Pair(shipped("qwen3-32b-awq"), RTX_2000_ADA, 2_048, False, None),
    "32B 4-bit, RTX 6000 Ada with ECC": Pair(shipped("qwen3-32b-awq"), RTX_6000_ADA_ECC, 32_768, True, None),
    "coder with 96k, RTX 6000 Ada with ECC": Pair(CODER_30B, RTX_6000_ADA_ECC, 98_304, True, None),
    "coder with 256k, RTX 6000 Ada with ECC": Pair(CODER_30B, RTX_6000_ADA_ECC, 262_144, False, None),
}


def _with_context(model: catalogue_pb2.Model, context_tokens: int) -> catalogue_pb2.Model:
    found = catalogue_pb2.Model()
    found.CopyFrom(model)
    found.context_tokens = context_tokens
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_card_and_model_come_out_as_they_are_known_to(name: str) -> None:
    pair = PAIRS[name]
    found = fit(
        _with_context(pair.model, pair.context), CardFacts(pair.card, None, pair.count), share=pair.share
    )
    assert found.fits is pair.fits, found.words


def test_most_of_the_pairs_are_reported_ones() -> None:
    assert len(PAIRS) == 20
    assert sum(pair.report is not None for pair in PAIRS.values()) == 13


@pytest.mark.parametrize(
    ("model", "count", "reported_gib"),
    [
        (LLAMA_8B, 1, 14.96),  # vllm-project/vllm#10511
        (QWEN25_14B, 2, 13.9476),  # vllm-project/vllm#13061
        (QWEN3_30B, 4, 14.2474),  # vllm-project/vllm#17469
        (QWEN3_30B_INT4, 1, 15.6841),  # vllm-project/vllm#17327
        (CODER_30B, 1, 29.09),  # vllm-project/vllm#25350
        (QWEN25_VL_72B, 4, 34.43),  # vllm-project/vllm#16570
    ],
)
def test_weights_are_within_2_per_cent_of_what_vllm_reported(
    model: catalogue_pb2.Model, count: int, reported_gib: float
) -> None:
    assert weights_bytes(model) / count / GIB == pytest.approx(reported_gib, rel=0.02)


def test_a_tokens_share_of_the_cache_is_what_engines_have_reported() -> None:
    # The CPU engine's log: 1 GiB is 46,592 tokens.
    assert kv_bytes_per_token(shipped("smollm2-135m-instruct")) == 23_040
    tokens = GIB / kv_bytes_per_token(shipped("smollm2-135m-instruct"))
    assert tokens == pytest.approx(46_592, rel=0.05)
    # vllm-project/vllm#21348: 8.11 GiB on each of four cards are 178,880 tokens.
    assert 8.11 * GIB / kv_bytes_per_token(QWEN3_235B_FP8, 4) == pytest.approx(178_880, rel=0.05)
    # vllm-project/vllm#10517: 3.81 GiB are 1,952 blocks of 16.
    assert 3.81 * GIB / kv_bytes_per_token(LLAMA_8B) == pytest.approx(1_952 * 16, rel=0.05)


def test_the_cache_of_a_reported_start_is_met_within_5_per_cent() -> None:
    found = fit(_with_context(LLAMA_8B, 8_192), CardFacts(H100), share=0.9)
    assert found.cache / GIB == pytest.approx(53.29, rel=0.05)  # vllm-project/vllm#10511


def test_the_working_adds_up_and_is_said_in_words() -> None:
    found = fit(shipped("qwen3-8b-awq"), CardFacts(RTX_2000_ADA, "8.9"))
    assert found.usable == found.weights + found.working + found.cache
    assert found.cache_tokens * found.kv_per_token <= found.cache
    assert found.full_context_calls == found.cache_tokens // 32_768
    assert "14.7 GiB usable of 16.0 GiB - 5.7 GiB weights" in found.words
    assert f"{found.cache_tokens:,} tokens at 147,456 bytes" in found.words


def test_each_obstacle_is_told_with_its_figures() -> None:
    large = fit(shipped("qwen3-32b-awq"), CardFacts(RTX_2000_ADA))
    assert large.obstacle is Obstacle.WEIGHTS_TOO_LARGE
    assert "no room for a KV cache" in large.words
    long = fit(shipped("qwen3-32b-awq"), CardFacts(RTX_4090))
    assert long.obstacle is Obstacle.CONTEXT_TOO_LARGE
    assert "fewer than the context of 32,768 tokens" in long.words
    old = fit(shipped("qwen3-8b"), CardFacts(RTX_4090, "7.5"))
    assert old.obstacle is Obstacle.CARD_TOO_OLD
    assert old.words == "it needs compute capability 8.0, the card has 7.5"
    uneven = fit(shipped("qwen3-8b"), CardFacts(RTX_4090, "8.9", count=3))
    assert uneven.obstacle is Obstacle.HEADS_NOT_DIVISIBLE


def test_several_equal_cards_serve_what_one_cannot() -> None:
    found = smallest_fit(shipped("qwen3-32b-awq"), CardFacts(RTX_4090, "8.9", count=4))
    assert found is not None
    assert found.cards.count == 2
    assert found.kv_per_token == 131_072
    assert smallest_fit(QWEN3_235B_FP8, CardFacts(RTX_4090, "8.9", count=2)) is None


def test_a_card_whose_chip_is_not_known_is_not_held_back_for_it() -> None:
    assert fit(shipped("qwen3-8b-awq"), CardFacts(RTX_2000_ADA, None)).fits


def test_figures_that_an_entry_lacks_are_taken_to_be_large() -> None:
    bare = shipped("qwen3-8b")
    known = fit(bare, CardFacts(H100)).working
    bare.architecture.hidden_size = bare.architecture.vocabulary_size = 0
    assert fit(bare, CardFacts(H100)).working > known
