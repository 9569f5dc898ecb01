from daalu_wire.v1 import agent_pb2

from control_plane.api.readings import ReadingResponse, State, cards

Reading = agent_pb2.Reading


def test_a_reading_of_zero_differs_from_every_way_of_having_none() -> None:
    readings = [
        ReadingResponse.of(Reading(value=0), "celsius"),
        ReadingResponse.of(Reading(unsupported=True), "celsius"),
        ReadingResponse.of(Reading(error="GPU is lost"), "celsius"),
        ReadingResponse.of(Reading(), "celsius"),
    ]
    assert [(reading.state, reading.value) for reading in readings] == [
        (State.OK, 0.0),
        (State.UNSUPPORTED, None),
        (State.ERROR, None),
        (State.ABSENT, None),
    ]
    assert readings[2].error == "GPU is lost"


def test_no_throttling_and_unknown_throttling_differ() -> None:
    idle = agent_pb2.ThrottleReading(value=agent_pb2.ThrottleReasons())
    slowed = agent_pb2.ThrottleReading(
        value=agent_pb2.ThrottleReasons(reasons=[agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL])
    )
    assert ReadingResponse.of(idle).value == []
    assert ReadingResponse.of(slowed).value == ["hardware_thermal"]
    assert ReadingResponse.of(agent_pb2.ThrottleReading()).value is None


def test_a_card_is_shown_from_inventory_and_sample_together() -> None:
    card = agent_pb2.Card(
        index=0, uuid="GPU-0", name=agent_pb2.TextReading(value="Simulated"), simulated=True
    )
    inventory = agent_pb2.GetInventoryResponse(cards=[card])
    sample = agent_pb2.TelemetrySample(
        cards=[
            agent_pb2.CardSample(index=1, uuid="GPU-1", lost="GPU is lost"),
            agent_pb2.CardSample(index=0, temperature_celsius=Reading(value=41)),
        ]
    )
    first, second = cards(inventory, sample)
    assert (first.uuid, first.simulated, first.lost) == ("GPU-0", True, None)
    assert first.readings["temperature_celsius"].value == 41
    assert (second.uuid, second.lost) == ("GPU-1", "GPU is lost")
    assert second.properties["name"].state is State.ABSENT
