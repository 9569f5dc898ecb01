"""What ships with the product: honest figures, and names that do not collide."""

import pytest
from daalu_wire.v1 import catalogue_pb2

from control_plane.catalogue import Catalogue

CATALOGUE = Catalogue.load()
ARCHITECTURES = {
    # From each model's public config.json: layers, KV heads, head size, hidden size, vocabulary.
    "smollm2-135m-instruct": (30, 3, 64, 576, 49_152),
    "qwen3-4b-instruct-2507": (36, 8, 128, 2_560, 151_936),
    "qwen3-8b": (36, 8, 128, 4_096, 151_936),
    "qwen3-8b-awq": (36, 8, 128, 4_096, 151_936),
    "qwen2.5-coder-14b-instruct-awq": (48, 8, 128, 5_120, 152_064),
    "qwen3-32b-awq": (64, 8, 128, 5_120, 151_936),
    "qwen3-30b-a3b-instruct-2507-fp8": (48, 4, 128, 2_048, 151_936),
    "qwen3-coder-30b-a3b-instruct-fp8": (48, 4, 128, 2_048, 151_936),
    "qwen3-embedding-0.6b": (28, 8, 128, 1_024, 151_669),
}


@pytest.mark.parametrize("model_id", [entry.model.model_id for entry in CATALOGUE])
def test_figures_are_those_of_the_models_own_configuration(model_id: str) -> None:
    entry = CATALOGUE.get(model_id)
    assert entry is not None
    found = entry.model.architecture
    assert (
        found.layers_count,
        found.kv_heads_count,
        found.head_size,
        found.hidden_size,
        found.vocabulary_size,
    ) == ARCHITECTURES[model_id]


def test_no_two_models_are_asked_for_by_one_name() -> None:
    names = [entry.model.served_name for entry in CATALOGUE]
    assert len(names) == len(set(names))


def test_there_is_something_for_every_use() -> None:
    kinds = {entry.model.kind for entry in CATALOGUE}
    assert kinds == {
        catalogue_pb2.MODEL_KIND_GENERAL,
        catalogue_pb2.MODEL_KIND_CODER,
        catalogue_pb2.MODEL_KIND_EMBEDDING,
    }


def test_no_commit_is_claimed_that_nobody_has_reviewed() -> None:
    # Weights come from a directory that the host's owner fills, at a commit that they choose.
    assert {entry.model.source.WhichOneof("source") for entry in CATALOGUE} == {"directory"}
