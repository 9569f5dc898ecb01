"""A persistent map equals a dict that was changed the same way, and what was handed out never changes."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.persistent_map import PersistentMap


@given(st.lists(st.tuples(st.integers(0, 600), st.none() | st.integers())))
def test_it_equals_a_dict_at_every_step(steps: list[tuple[int, int | None]]) -> None:
    model: dict[int, int] = {}
    made: PersistentMap[int, int] = PersistentMap()
    history = [(made, dict(model))]
    for key, value in steps:
        if value is None:
            made = made.without(key)
            model.pop(key, None)
        else:
            made = made.put(key, value)
            model[key] = value
        history.append((made, dict(model)))
    for seen, expected in history:
        assert dict(seen) == expected
        assert len(seen) == len(expected)
        assert all(seen.get(key) == expected.get(key) for key in range(0, 600, 50))
