import pytest

from control_plane.config import InvalidSetting
from control_plane.vendors import BaseUrl, parse_base_url


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("https://api.example/v1", BaseUrl(True, "api.example", 443, "/v1"), "api.example"),
        ("https://API.example:443/v1/", BaseUrl(True, "api.example", 443, "/v1"), "api.example"),
        ("https://api.example:8443", BaseUrl(True, "api.example", 8443, ""), "api.example:8443"),
        ("https://[fd00::1]/a/b", BaseUrl(True, "fd00::1", 443, "/a/b"), "[fd00::1]"),
        ("http://127.0.0.1:80/v1", BaseUrl(False, "127.0.0.1", 80, "/v1"), "127.0.0.1"),
        ("http://localhost:9000/v1", BaseUrl(False, "localhost", 9000, "/v1"), "localhost:9000"),
        ("http://[::1]:443/", BaseUrl(False, "::1", 443, ""), "[::1]:443"),
    ],
)
def test_a_base_url_is_taken_apart(text: str, url: BaseUrl, authority: str) -> None:
    assert parse_base_url(text) == url
    assert parse_base_url(text).authority == authority


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://api.example/v1", "plain http is for loopback"),
        ("http://10.0.0.1/v1", "plain http is for loopback"),
        ("https://api.example/v1?key=x", "query"),
        ("https://api.example/v1#x", "fragment"),
        ("https://api.example/v1?", "query"),
        ("ftp://api.example/v1", "must be https"),
        ("api.example/v1", "must be https"),
        ("https:///v1", "must be https"),
        ("https://a b/v1", "must be https"),
        ("https://ünï.example/v1", "xn--"),
        ("https://api.example:0/v1", "ports go from 1"),
        ("https://api.example:65536/v1", "is no URL"),
        ("https://[::1/v1", "is no URL"),
        ("https://api.example/v1/../admin", "path"),
        ("https://api.example//v1", "path"),
        ("https://api.example/v1%2f", "path"),
        ("https://api.example/v1 HTTP/1.1", "path"),
    ],
)
def test_what_is_no_base_url_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        parse_base_url(text)


@pytest.mark.parametrize("text", ["https://user:hunter2@api.example/v1", "https://hunter2@api.example"])
def test_a_password_in_a_base_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidSetting, match="user name or password") as caught:
        parse_base_url(text)
    assert "hunter2" not in str(caught.value)
