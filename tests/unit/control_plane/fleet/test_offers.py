"""What an agent's cards are offered, and what is refused there with the arithmetic."""

from daalu_wire.v1 import agent_pb2, catalogue_pb2

from control_plane.catalogue import Catalogue
from control_plane.fleet.offers import largest_card, offers, refusal

MIB = 1024**2
CATALOGUE = Catalogue.load()
OK, SIMULATED = agent_pb2.CARD_SYSTEM_STATE_OK, agent_pb2.CARD_SYSTEM_STATE_SIMULATED


def _model(model_id: str) -> catalogue_pb2.Model:
    entry = CATALOGUE.get(model_id)
    assert entry is not None
    return entry.model


def _host(
    *cards: agent_pb2.Card, state: agent_pb2.CardSystemState.ValueType = OK
) -> agent_pb2.GetInventoryResponse:
    return agent_pb2.GetInventoryResponse(card_system=agent_pb2.CardSystem(state=state), cards=cards)


def _card(memory_mib: int, name: str = "NVIDIA RTX 2000 Ada Generation") -> agent_pb2.Card:
    return agent_pb2.Card(
        name=agent_pb2.TextReading(value=name),
        memory_total_bytes=agent_pb2.Reading(value=memory_mib * MIB),
        compute_capability=agent_pb2.TextReading(value="8.9"),
    )


def test_a_card_with_16_gb_is_offered_what_fits_and_nothing_else() -> None:
    found = offers([entry.model for entry in CATALOGUE], _host(_card(16_380)))
    assert {offer.model.model_id for offer in found if offer.fits} == {
        "smollm2-135m-instruct",
        "qwen3-4b-instruct-2507",
        "qwen3-8b-awq",
        "qwen2.5-coder-14b-instruct-awq",
        "qwen3-embedding-0.6b",
    }
    assert len(found) == len(CATALOGUE)


def test_a_card_with_48_gb_is_offered_the_large_models_too() -> None:
    found = offers([entry.model for entry in CATALOGUE], _host(_card(46_068)))
    assert all(offer.fits for offer in found)


def test_what_does_not_fit_is_refused_with_the_arithmetic() -> None:
    words = refusal(_model("qwen3-32b-awq"), _host(_card(16_380)))
    assert words is not None
    assert words.startswith("qwen3-32b-awq does not fit: no room for a KV cache: 14.7 GiB usable of 16.0 GiB")
    assert refusal(_model("qwen3-8b-awq"), _host(_card(16_380))) is None


def test_two_equal_cards_are_said_to_be_enough_but_are_not_used() -> None:
    host = _host(_card(24_564), _card(24_564), _card(8_188))
    (offer,) = offers([_model("qwen3-32b-awq")], host)
    assert not offer.fits
    assert "it would fit on 2 cards together" in offer.words
    assert refusal(_model("qwen3-32b-awq"), host) is not None


def test_the_largest_card_decides() -> None:
    largest, equal = largest_card(_host(_card(8_188), _card(49_140), _card(8_188)))
    assert largest is not None
    assert (largest.memory_bytes, equal) == (49_140 * MIB, 1)


def test_a_simulated_card_refuses_nothing_since_the_processor_runs_the_engine() -> None:
    assert refusal(_model("qwen3-32b-awq"), _host(_card(16_380), state=SIMULATED)) is None


def test_where_no_card_is_known_nothing_is_refused_and_nothing_is_said_to_fit() -> None:
    unread = agent_pb2.Card(memory_total_bytes=agent_pb2.Reading(error="Unknown Error"))
    for host in (None, _host(), _host(unread)):
        assert refusal(_model("qwen3-32b-awq"), host) is None
        (offer,) = offers([_model("qwen3-8b-awq")], host)
        assert not offer.fits
        assert offer.words == "no card's memory is known, so nothing can be worked out"
