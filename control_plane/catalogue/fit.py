"""Whether a model fits on a card, and how much of it at once, with the working shown. Pure.

    memory x share = weights + working memory + KV cache
    KV cache bytes a token = layers x 2 x KV heads x head size x 2 bytes

Bytes a token are proven against a running engine; the working memory rests on published figures of vLLM,
listed with how far off it is in docs/fit.md.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from daalu_wire.v1 import catalogue_pb2

from control_plane.catalogue.weights import weights_bytes

GIB = 1024**3
# What vLLM 0.32 takes of a card's memory unless told otherwise (--gpu-memory-utilization).
ENGINE_SHARE = 0.92
# vLLM keeps the cache in bfloat16 or float16 unless told otherwise; both have this size.
KV_ELEMENT_BYTES = 2
# vLLM's block: a call's cache is handed out in whole ones.
BLOCK_TOKENS = 16
# CUDA's own context, its libraries and graphs. Published: 0.06 to 1.8 GiB, the larger with newer versions.
RUNTIME_BYTES = GIB
# A further card adds communication buffers. Published: 0.25 GiB in all on two RTX 4090, 1.8 more on two H100.
PER_FURTHER_CARD_BYTES = GIB // 2
# Bytes of activations per token of a batch, per unit of hidden size, near enough: 2 bytes x (4 for the
# residual stream and attention + 3 x 3.5 for the feed-forward layer).
ACTIVATION_BYTES_PER_HIDDEN = 29
# Used where an entry does not say; larger than that of any model for one card.
HIDDEN_SIZE_UNKNOWN = 8_192
VOCABULARY_UNKNOWN = 262_144
LOGIT_BYTES = 4


class Obstacle(StrEnum):
    """Why a model cannot be served. Codes are stable: they are shown and answered."""

    WEIGHTS_TOO_LARGE = "weights_too_large"
    CONTEXT_TOO_LARGE = "context_too_large"
    CARD_TOO_OLD = "card_too_old"
    HEADS_NOT_DIVISIBLE = "heads_not_divisible"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """One card, or `count` equal ones that work as one (tensor parallel)."""

    memory_bytes: int
    # As NVML says it, e.g. "8.9"; None: not known, and not held against the card.
    compute_capability: str | None = None
    count: int = 1
    # vLLM prefills in smaller batches on an A100, whatever its memory.
    is_a100: bool = False

    @property
    def chip(self) -> tuple[int, int] | None:
        """The compute capability, to compare with; None also where it is written otherwise."""
        major, _, minor = (self.compute_capability or "").partition(".")
        return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Fit:
    """The working, in bytes on each card. Everything else follows from it."""

    model: catalogue_pb2.Model
    cards: CardFacts
    # The engine's share of the card's memory.
    usable: int
    weights: int
    working: int
    kv_per_token: int

    @property
    def cache(self) -> int:
        """What is left for the KV cache; below 0 where weights and working memory are too much alone."""
        return self.usable - self.weights - self.working

    @property
    def cache_tokens(self) -> int:
        """In whole blocks, over all calls. It is also the longest context of which one call fits."""
        return max(0, self.cache) // (self.kv_per_token * BLOCK_TOKENS) * BLOCK_TOKENS

    @property
    def full_context_calls(self) -> int:
        """Calls at once, each with all of the entry's context. Shorter ones fit more often."""
        return self.cache_tokens // self.model.context_tokens

    @property
    def fits(self) -> bool:
        return self.obstacle is None

    @property
    def obstacle(self) -> Obstacle | None:
        if self.cards.chip is not None and self.cards.chip < needed_chip(self.model):
            return Obstacle.CARD_TOO_OLD
        heads, count = self.model.architecture.kv_heads_count, self.cards.count
        # Fewer heads than cards are copied, evenly.
        if heads % count and count % heads:
            return Obstacle.HEADS_NOT_DIVISIBLE
        if self.cache_tokens == 0:
            return Obstacle.WEIGHTS_TOO_LARGE
        return Obstacle.CONTEXT_TOO_LARGE if self.cache_tokens < self.model.context_tokens else None

    @property
    def words(self) -> str:
        """With the figures: why it does not fit, or how often its context does."""
        count = self.cards.count
        working_out = (
            f"{_gib(self.usable)} usable of {_gib(self.cards.memory_bytes)} - {_gib(self.weights)} weights"
            f" - {_gib(self.working)} working memory = {_gib(self.cache)} for the KV cache"
            + (f" on each of {count} cards" if count > 1 else "")
        )
        cached = f"{working_out}: {self.cache_tokens:,} tokens at {self.kv_per_token:,} bytes"
        context = f"the context of {self.model.context_tokens:,} tokens"
        match self.obstacle:
            case Obstacle.CARD_TOO_OLD:
                needed = ".".join(str(part) for part in needed_chip(self.model))
                return f"it needs compute capability {needed}, the card has {self.cards.compute_capability}"
            case Obstacle.HEADS_NOT_DIVISIBLE:
                heads = self.model.architecture.kv_heads_count
                return f"its {heads} KV heads cannot be shared evenly by {count} cards"
            case Obstacle.WEIGHTS_TOO_LARGE:
                return f"no room for a KV cache: {working_out}"
            case Obstacle.CONTEXT_TOO_LARGE:
                return f"{cached}, fewer than {context}"
            case None:
                return f"{cached}, {self.cache_tokens / self.model.context_tokens:.1f} times {context}"


def fit(model: catalogue_pb2.Model, cards: CardFacts, *, share: float = ENGINE_SHARE) -> Fit:
    """`share` of each card's memory is the engine's."""
    return Fit(
        model=model,
        cards=cards,
        usable=int(cards.memory_bytes * share),
        weights=-(-weights_bytes(model) // cards.count),
        working=working_bytes(model, cards),
        kv_per_token=kv_bytes_per_token(model, cards.count),
    )


def smallest_fit(model: catalogue_pb2.Model, cards: CardFacts, *, share: float = ENGINE_SHARE) -> Fit | None:
    """With as few of `cards.count` equal cards as it takes, in powers of two; None: not with all of them."""
    count = 1
    while count <= cards.count:
        found = fit(model, replace(cards, count=count), share=share)
        if found.fits:
            return found
        count *= 2
    return None


def kv_bytes_per_token(model: catalogue_pb2.Model, count: int = 1) -> int:
    """On each of `count` cards, which share the KV heads."""
    shape = model.architecture
    heads = -(-shape.kv_heads_count // count)
    return shape.layers_count * 2 * heads * shape.head_size * KV_ELEMENT_BYTES


def working_bytes(model: catalogue_pb2.Model, cards: CardFacts) -> int:
    """On each card, besides weights and cache: runtime, activations of the largest batch, its logits."""
    hidden = model.architecture.hidden_size or HIDDEN_SIZE_UNKNOWN
    vocabulary = model.architecture.vocabulary_size or VOCABULARY_UNKNOWN
    activations = batch_tokens(model, cards) * hidden * ACTIVATION_BYTES_PER_HIDDEN
    logits = model.max_running_calls * vocabulary * LOGIT_BYTES
    return RUNTIME_BYTES + (cards.count - 1) * PER_FURTHER_CARD_BYTES + activations + logits


def batch_tokens(model: catalogue_pb2.Model, cards: CardFacts) -> int:
    """Tokens that vLLM 0.32 works on at once, by its own defaults for a server."""
    if cards.memory_bytes >= 160 * GIB:
        most = 16_384
    elif cards.memory_bytes >= 70 * GIB and not cards.is_a100:
        most = 8_192
    else:
        most = 2_048
    return min(most, model.context_tokens * model.max_running_calls)


def needed_chip(model: catalogue_pb2.Model) -> tuple[int, int]:
    """The oldest compute capability that vLLM 0.32 runs it on: 8.0 for bfloat16, 7.5 for all else."""
    return (8, 0) if model.dtype == "bfloat16" else (7, 5)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
