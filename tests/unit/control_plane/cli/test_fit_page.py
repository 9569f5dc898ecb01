"""What `daalu models fit` prints: offered with figures, refused with the arithmetic."""

from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.api.offers import OfferedCard, OfferResponse
from control_plane.catalogue import CardClasses, Catalogue
from control_plane.cli.fit_page import print_fit
from control_plane.fleet import offers

MIB = 1024**2


def _page(capsys: pytest.CaptureFixture[str], *cards: agent_pb2.Card) -> str:
    inventory = agent_pb2.GetInventoryResponse(
        card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK), cards=cards
    )
    classes = CardClasses.load()
    found: dict[str, Any] = {
        "simulated": any(card.simulated for card in cards),
        "cards": [OfferedCard.of(card, classes).model_dump(mode="json") for card in cards],
        "models": [
            OfferResponse.of(offer).model_dump(mode="json")
            for offer in offers([entry.model for entry in Catalogue.load()], inventory)
        ],
    }
    print_fit(found)
    return capsys.readouterr().out


def _card(name: str, memory_mib: int, **fields: Any) -> agent_pb2.Card:
    return agent_pb2.Card(
        name=agent_pb2.TextReading(value=name),
        memory_total_bytes=agent_pb2.Reading(value=memory_mib * MIB),
        compute_capability=agent_pb2.TextReading(value="8.9"),
        **fields,
    )


def test_a_16_gb_card_is_offered_its_models_and_told_why_not_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = _page(capsys, _card("NVIDIA RTX 2000 Ada Generation", 16_380))
    assert "card 0  NVIDIA RTX 2000 Ada Generation, 16.0 GiB, rtx-2000-ada-16gb" in page
    offered, _, refused = page.partition("\nnot ")
    assert "qwen2.5-coder-14b-instruct-awq" in offered
    assert "147,456 B" in offered
    assert "qwen3-32b-awq: no room for a KV cache: 14.7 GiB usable of 16.0 GiB" in refused


def test_a_card_that_nobody_has_described_is_said_to_be_untested(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, _card("NVIDIA GeForce RTX 4070", 12_282))
    assert "untested-12gib-sm89: untested, derived from its memory and compute capability" in page


def test_a_simulated_card_is_labelled(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys, _card("Simulated RTX 2000 Ada 16 GB", 16_384, simulated=True))
    assert "simulated: the engine runs on the processor" in page


def test_without_a_card_nothing_is_said_to_fit(capsys: pytest.CaptureFixture[str]) -> None:
    page = _page(capsys)
    assert "no card is known of this agent" in page
    assert "nothing of the catalogue fits" in page
