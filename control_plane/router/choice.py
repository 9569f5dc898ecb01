"""Choosing the model of a call that asks for `auto`. Pure."""

from collections.abc import Mapping

from control_plane.catalogue import ModelNames
from control_plane.store.tables import Purpose


def choose_model(
    purpose: Purpose, own: Mapping[str, int], reachable: Mapping[str, int], names: ModelNames
) -> str | None:
    """A served name of `reachable`, which with `own` says the largest context of each; None: there is none.

    One that the tenant's own cards serve comes first, then one made for the purpose, then the one with the
    larger context.
    """
    wants_coder = purpose is Purpose.CODING

    def preference(model: str) -> tuple[bool, bool, int, str]:
        return model in own, (model in names.coders) is wants_coder, reachable[model], model

    return max((model for model in reachable if model not in names.embedders), key=preference, default=None)
