from pathlib import Path

import pytest

from control_plane.access import OperatorToken


def test_the_token_that_was_stored_matches_and_no_other(tmp_path: Path) -> None:
    text = OperatorToken.new()
    (tmp_path / "operator-token").write_text(text + "\n")
    token = OperatorToken.load(tmp_path / "operator-token")
    assert token.matches(text)
    assert not token.matches(OperatorToken.new())
    assert not token.matches("")
    assert text not in repr(vars(token) if hasattr(token, "__dict__") else token)


def test_a_file_with_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "operator-token"
    path.write_text("")
    with pytest.raises(ValueError, match=r"operator-token holds no operator token: .*daalu init"):
        OperatorToken.load(path)
