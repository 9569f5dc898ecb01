"""What an agent's cards can serve, printed for people, with the arithmetic."""

from typing import Any

from control_plane.cli.show import plain, print_table

_GIB = 1024**3


def print_fit(found: dict[str, Any]) -> None:
    for card in found["cards"]:
        print(plain(_card(card)))
    if not found["cards"]:
        print("no card is known of this agent")
    if found["simulated"]:
        print("simulated: the engine runs on the processor, and no deployment is refused")
    print()
    offered = [_offered(model) for model in found["models"] if model["fits"]]
    columns = ("OFFERED", "KIND", "CONTEXT", "FULL CONTEXTS", "TOKENS CACHED", "WEIGHTS", "WORKING", "USABLE")
    print_table(columns, offered, empty="nothing of the catalogue fits")
    refused = [model for model in found["models"] if not model["fits"]]
    if refused:
        print()
    for model in refused:
        print(plain(f"not {model['model_id']}: {model['words']}"))


def _card(card: dict[str, Any]) -> str:
    name = card["name"] or "a card without a name"
    memory = card["memory_total_bytes"]
    size = f"{memory / _GIB:.1f} GiB" if memory is not None else "memory not known"
    found = card["card_class"]
    if found is None:
        told = "no class: too little is known of it"
    elif found["known"]:
        told = found["id"]
    else:
        told = f"{found['id']}: untested, derived from its memory and compute capability"
    return f"card {card['index']}  {name}, {size}, {told}"


def _offered(model: dict[str, Any]) -> tuple[object, ...]:
    working = model["working"]
    return (
        model["model_id"],
        model["kind"],
        f"{model['context_tokens']:,}",
        f"{working['cache_tokens'] / model['context_tokens']:.1f}",
        f"{working['cache_tokens']:,} at {working['kv_bytes_per_token']:,} B",
        f"{working['weights_bytes'] / _GIB:.1f} GiB",
        f"{working['working_bytes'] / _GIB:.1f} GiB",
        f"{working['usable_bytes'] / _GIB:.1f} of {working['memory_bytes'] / _GIB:.1f} GiB",
    )
