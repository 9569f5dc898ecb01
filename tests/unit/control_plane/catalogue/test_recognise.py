"""A card is recognised by its name, memory and chip together; what no file describes is derived."""

import pytest

from control_plane.catalogue import CardClasses, Form

MIB = 1024**2
CLASSES = CardClasses.load()

# Name and total memory as NVML gives them on such hosts, with ECC on where that is the default.
CARDS = [
    ("NVIDIA RTX 2000 Ada Generation", 16_380, "8.9", "rtx-2000-ada-16gb", Form.DESKTOP),
    ("NVIDIA RTX 2000 Ada Generation", 15_356, "8.9", "rtx-2000-ada-16gb", Form.DESKTOP),
    ("NVIDIA RTX 2000 Ada Generation Laptop GPU", 8_188, "8.9", "rtx-2000-ada-laptop-8gb", Form.LAPTOP),
    ("NVIDIA RTX 6000 Ada Generation", 49_140, "8.9", "rtx-6000-ada-48gb", Form.DESKTOP),
    ("NVIDIA RTX 6000 Ada Generation", 46_068, "8.9", "rtx-6000-ada-48gb", Form.DESKTOP),
    ("NVIDIA GeForce RTX 3090", 24_576, "8.6", "rtx-3090-24gb", Form.DESKTOP),
    ("NVIDIA GeForce RTX 4090", 24_564, "8.9", "rtx-4090-24gb", Form.DESKTOP),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 16_376, "8.9", "rtx-4090-laptop-16gb", Form.LAPTOP),
    ("NVIDIA GeForce RTX 5090", 32_607, "12.0", "rtx-5090-32gb", Form.DESKTOP),
    ("NVIDIA A10", 23_028, "8.6", "a10-24gb", Form.SERVER),
    ("NVIDIA L4", 23_034, "8.9", "l4-24gb", Form.SERVER),
    ("NVIDIA L40S", 46_068, "8.9", "l40s-48gb", Form.SERVER),
    ("NVIDIA A100-SXM4-40GB", 40_960, "8.0", "a100-40gb", Form.SERVER),
    ("NVIDIA A100-SXM4-80GB", 81_920, "8.0", "a100-80gb", Form.SERVER),
    ("NVIDIA A100 80GB PCIe", 81_920, "8.0", "a100-80gb", Form.SERVER),
    ("NVIDIA H100 80GB HBM3", 81_559, "9.0", "h100-80gb", Form.SERVER),
    ("NVIDIA H200", 143_771, "9.0", "h200-141gb", Form.SERVER),
    (
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        97_887,
        "12.0",
        "rtx-pro-6000-96gb",
        Form.DESKTOP,
    ),
    (
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        97_887,
        "12.0",
        "rtx-pro-6000-max-q-96gb",
        Form.MAX_Q,
    ),
]


@pytest.mark.parametrize(("name", "memory_mib", "capability", "class_id", "form"), CARDS)
def test_a_card_that_a_file_describes_is_recognised(
    name: str, memory_mib: int, capability: str, class_id: str, form: Form
) -> None:
    found = CLASSES.recognise(name, memory_mib * MIB, capability)
    assert found is not None
    assert (found.id, found.form, found.known) == (class_id, form, True)


def test_case_and_white_space_of_a_name_do_not_matter() -> None:
    found = CLASSES.recognise(" nvidia  l4", 23_034 * MIB, None)
    assert found is not None
    assert found.id == "l4-24gb"


def test_a_simulated_card_is_of_the_class_whose_name_it_bears() -> None:
    found = CLASSES.recognise("Simulated RTX 2000 Ada 16 GB", 16 * 1024 * MIB, "8.9")
    assert found is not None
    assert found.id == "rtx-2000-ada-16gb"


@pytest.mark.parametrize(
    ("name", "memory_mib", "capability", "class_id"),
    [
        # A slice of a card has another's memory, and is another card.
        ("NVIDIA A100-SXM4-40GB", 4_864, "8.0", "untested-5gib-sm80"),
        # A name that does not go with the chip is not believed.
        ("NVIDIA L4", 23_034, "7.5", "untested-22gib-sm75"),
        ("NVIDIA GeForce RTX 4070", 12_282, "8.9", "untested-12gib-sm89"),
        ("NVIDIA GeForce RTX 4090 D", 24_564, "8.9", "untested-24gib-sm89"),
        (None, 8_192, None, "untested-8gib-sm-unknown"),
    ],
)
def test_any_other_card_gets_a_class_that_says_that_it_is_untested(
    name: str | None, memory_mib: int, capability: str | None, class_id: str
) -> None:
    found = CLASSES.recognise(name, memory_mib * MIB, capability)
    assert found is not None
    assert (found.id, found.known, found.pcie_lanes) == (class_id, False, None)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("NVIDIA GeForce RTX 4080 Laptop GPU", Form.LAPTOP),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", Form.MAX_Q),
        ("NVIDIA GeForce RTX 4080", Form.DESKTOP),
    ],
)
def test_laptop_and_max_q_cards_are_told_apart_also_where_they_are_not_described(
    name: str, form: Form
) -> None:
    found = CLASSES.recognise(name, 12_282 * MIB, "8.9")
    assert found is not None
    assert found.form is form


def test_a_card_of_which_too_little_is_known_has_no_class() -> None:
    assert CLASSES.recognise("NVIDIA Something", None, "8.9") is None
    assert CLASSES.recognise(None, None, None) is None
