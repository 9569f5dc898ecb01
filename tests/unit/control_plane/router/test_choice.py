"""The model of a call that asks for `auto`."""

from control_plane.catalogue import ModelNames
from control_plane.router import choose_model
from control_plane.store.tables import Purpose

NAMES = ModelNames(coders=frozenset({"coder"}), embedders=frozenset({"embedder"}))


def test_what_the_tenants_own_cards_serve_comes_before_what_suits_better() -> None:
    assert choose_model(Purpose.CODING, {"chat": 10}, {"chat": 10, "coder": 100}, NAMES) == "chat"


def test_a_coder_is_for_coding_and_nothing_else_if_there_is_a_choice() -> None:
    both = {"chat": 10, "coder": 100}
    assert choose_model(Purpose.CODING, {}, both, NAMES) == "coder"
    assert choose_model(Purpose.GENERAL, {}, both, NAMES) == "chat"
    assert choose_model(Purpose.GENERAL, {}, {"coder": 100}, NAMES) == "coder"


def test_the_larger_context_decides_then() -> None:
    assert choose_model(Purpose.GENERAL, {}, {"a": 100, "b": 10}, NAMES) == "a"


def test_an_embedding_model_answers_nobody() -> None:
    assert choose_model(Purpose.GENERAL, {"embedder": 10}, {"embedder": 10}, NAMES) is None
