from typing import Any

from control_plane.console.call_story import Place, Reason, place_of_attempt, story

OWN = {"agt-own": "atelier-1"}


def _left(tier: str, agent_id: str | None, code: str, pool: str | None = None) -> dict[str, Any]:
    found = {"tier": tier, "agent_id": agent_id, "agent": "rack-seven", "code": code, "words": "GPU-1 is hot"}
    return found | ({"pool": pool} if pool else {})


def test_own_cards_are_named_and_others_are_a_card_of_a_pool() -> None:
    told = story(
        {
            "candidates": [
                {"tier": "own", "agent_id": "agt-own", "agent": "atelier-1", "load": 0.5},
                {"tier": "pool", "agent_id": "agt-x", "agent": "rack-seven", "load": 0.9, "pool": "shared"},
                {"tier": "external", "vendor": "acme"},
            ]
        },
        OWN,
    )
    assert told.candidates == [
        Place("own", "atelier-1", 0.5),
        Place("pool", "a card of pool shared"),
        Place("external", "acme"),
    ]


def test_why_others_cards_were_left_out_is_counted_and_says_nothing_about_the_card() -> None:
    listed = [_left("pool", f"agt-{number}", "no_room", "shared") for number in range(3)]
    told = story({"left_out": [*listed, _left("pool", "agt-9", "a_new_reason", "shared")]}, OWN)
    assert told.left_out == [
        Reason(Place("pool", "3 cards of pool shared"), "no room", "no_room"),
        Reason(Place("pool", "a card of pool shared"), "a new reason", "a_new_reason"),
    ]


def test_own_cards_pools_and_tiers_have_the_records_words() -> None:
    told = story(
        {
            "left_out": [
                _left("own", "agt-own", "queue_full"),
                _left("pool", None, "unpriced", "shared"),
                _left("external", None, "external_not_allowed"),
            ]
        },
        OWN,
    )
    assert [(each.place.name, each.words) for each in told.left_out] == [
        ("atelier-1", "GPU-1 is hot"),
        ("pool shared", "GPU-1 is hot"),
        ("the whole tier", "GPU-1 is hot"),
    ]


def test_a_pins_words_which_name_ids_are_not_repeated() -> None:
    [left] = story({"left_out": [_left("own", "agt-own", "pinned_elsewhere")]}, OWN).left_out
    assert left.words == "these calls are pinned elsewhere"


def test_a_decision_without_a_plan_is_an_empty_story() -> None:
    told = story({}, OWN)
    assert (told.candidates, told.left_out, told.denials, told.unlisted) == ([], [], [], 0)


def test_an_attempt_is_at_an_own_card_a_pools_or_a_vendor() -> None:
    assert place_of_attempt("own", "agt-own", None, None, OWN).name == "atelier-1"
    assert place_of_attempt("pool", "agt-x", "shared", None, OWN).name == "a card of pool shared"
    assert place_of_attempt("external", None, None, "acme", OWN).name == "acme"
    # A card that was the tenant's and whose call was of no pool, told without its name.
    assert place_of_attempt("own", "agt-gone", None, None, OWN).name == "a card"
