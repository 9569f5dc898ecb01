import pytest

from control_plane.cli.show import ago, milliseconds, moment, print_table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (-5, "0 s ago"), (59, "59 s ago"), (300, "5 min ago"), (90_000, "25 h ago")],
)
def test_how_long_ago_is_told_in_a_unit_that_fits(seconds: int, words: str) -> None:
    assert ago(1_000_000, now_ms=1_000_000 + seconds * 1000) == words


def test_what_never_happened_is_never_a_time() -> None:
    assert ago(None) == "never"
    assert moment(None) == "-"
    assert milliseconds(None) == "-"


def test_a_table_prints_markup_as_it_is_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "OTHER"), [("[red]x[/red]", "y" * 150)], empty="none")
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "y" * 150 in out


def test_an_empty_table_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME",), [], empty="no tenants yet")
    assert capsys.readouterr().out == "no tenants yet\n"
