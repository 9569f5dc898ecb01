"""The vendors' file: what is read, and every fault that is refused."""

import os
import re
from pathlib import Path

import pytest

from control_plane.config import InvalidSetting
from control_plane.economy import PriceTerms
from control_plane.vendors import BaseUrl, Vendors, VendorWaits, load_vendors

KEY = "sk-very-secret"
MODEL = """
[[vendor.model]]
served_name = "small"
vendors_name = "their/small-8b"
context_tokens = 32768
max_output_tokens = 4096
input_micro_usd_per_mtok = 150_000
output_micro_usd_per_mtok = 600_000
"""
HEAD = """
[[vendor]]
name = "example"
base_url = "https://api.example/v1"
key_file = "example.key"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    key = tmp_path / "example.key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    return tmp_path


def load(directory: Path, text: str, **environment: str) -> Vendors:
    path = directory / "vendors.toml"
    path.write_text(text)
    return load_vendors(path, default=directory / "none.toml", environment=environment)


def refusal(directory: Path, text: str, **environment: str) -> str:
    with pytest.raises(InvalidSetting) as caught:
        load(directory, text, **environment)
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_a_vendor_is_read_with_its_models_prices_and_standard_limits(directory: Path) -> None:
    [vendor] = load(directory, HEAD + MODEL).all
    assert (vendor.name, vendor.key, vendor.connections) == ("example", KEY, 256)
    assert vendor.url == BaseUrl(True, "api.example", 443, "/v1")
    assert vendor.waits == VendorWaits()
    assert vendor.tls is not None
    model = vendor.models["small"]
    assert (model.vendor, model.served_name, model.vendors_name) == ("example", "small", "their/small-8b")
    assert (model.context_tokens, model.max_output_tokens, model.limit_field) == (32_768, 4_096, None)
    # No price of its own for cached input.
    assert model.price == PriceTerms(150_000, 600_000, 150_000)


def test_the_example_of_the_documentation_is_one(directory: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "vendors.md"
    example = page.read_text().split("```toml\n")[1].split("```")[0]
    [vendor] = load(directory, example).all
    assert vendor.models["qwen3-8b"].price == PriceTerms(100_000, 400_000, 100_000)


def test_limits_that_are_written_replace_the_standard_ones(directory: Path) -> None:
    lines = "connect_s = 2\nfirst_content_s = 30.5\nstream_gap_s = 9\nwhole_answer_s = 99\n"
    lines += "idle_connection_s = 4\nconnections = 7\n"
    model = MODEL + 'limit_field = "max_completion_tokens"\n'
    [vendor] = load(directory, HEAD + lines + model).all
    assert vendor.waits == VendorWaits(2.0, 30.5, 9.0, 99.0, 4.0)
    assert vendor.connections == 7
    assert vendor.models["small"].limit_field == "max_completion_tokens"


def test_two_vendors_of_one_model_are_tried_in_the_files_order(directory: Path) -> None:
    second = HEAD.replace('"example"', '"another"')
    large = MODEL.replace('"small"', '"large"').replace("32768", "65536")
    vendors = load(directory, HEAD + MODEL + second + large + MODEL)
    assert [model.vendor for model in vendors.serving("small")] == ["example", "another"]
    assert [model.vendor for model in vendors.serving("large")] == ["another"]
    assert vendors.serving("unheard-of") == ()
    assert vendors.models == {"small": 32_768, "large": 65_536}
    assert vendors.by_name["another"] is vendors.all[1]


def test_a_price_of_zero_is_a_decision(directory: Path) -> None:
    text = MODEL.replace("150_000", "0").replace("600_000", "0")
    [vendor] = load(directory, HEAD + text).all
    assert vendor.models["small"].price == PriceTerms(0, 0, 0)


def test_without_a_file_there_are_no_vendors_but_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "vendors.toml"
    assert load_vendors(None, default=missing).all == ()
    with pytest.raises(InvalidSetting, match=r"vendors\.toml is not there"):
        load_vendors(missing, default=missing)


def test_the_default_file_is_read_where_it_is_there(directory: Path) -> None:
    path = directory / "vendors.toml"
    path.write_text(HEAD + MODEL)
    assert [vendor.name for vendor in load_vendors(None, default=path).all] == ["example"]


def test_the_key_may_come_from_the_environment(directory: Path) -> None:
    text = HEAD.replace('key_file = "example.key"', 'key_environment = "EXAMPLE_KEY"') + MODEL
    [vendor] = load(directory, text, EXAMPLE_KEY=f" {KEY}\n").all
    assert vendor.key == KEY
    message = refusal(directory, text)
    assert message.endswith("the variable EXAMPLE_KEY is not set in this process's environment")
    assert "vendors.toml: vendor example: key_environment cannot be used" in message
    assert "has a space" in refusal(directory, text, EXAMPLE_KEY=f"{KEY} {KEY}")


def test_neither_vendor_nor_vendors_show_a_key(directory: Path) -> None:
    vendors = load(directory, HEAD + MODEL)
    assert KEY not in repr(vendors) + str(vendors) + repr(vendors.all[0]) + f"{vendors.by_name}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_may_use_is_refused(directory: Path, mode: int) -> None:
    (directory / "example.key").chmod(mode)
    message = refusal(directory, HEAD + MODEL)
    assert f"has mode {mode:04o}" in message
    assert f"chmod 600 {directory / 'example.key'}" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (KEY.encode() + b"\nx", "a line break"),
        (KEY.encode() + b"\r\nhost: evil", "a line break"),
        (KEY.encode() + b"\0", "another character"),
        ("schlüssel".encode(), "is not ASCII"),
        (b"k" * 5_000, "is longer than 4096 characters"),
    ],
)
def test_what_is_no_key_is_refused(directory: Path, content: bytes, words: str) -> None:
    (directory / "example.key").write_bytes(content)
    message = refusal(directory, HEAD + MODEL)
    assert words in message
    assert "vendor example: key_file cannot be used" in message


def test_a_key_file_that_is_missing_or_no_file_is_refused_at_once(directory: Path) -> None:
    path = directory / "example.key"
    path.unlink()
    assert "example.key cannot be read: No such file" in refusal(directory, HEAD + MODEL)
    os.mkfifo(path, 0o600)
    assert "example.key is not a file" in refusal(directory, HEAD + MODEL)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "example"', "", "vendor 1: name is missing"),
        ('name = "example"', 'name = "Ex ample"', "vendor 1: name must be 1 to 40 small letters"),
        ('name = "example"', "name = 3", "vendor 1: name must be a text"),
        ('base_url = "https://api.example/v1"', "", "vendor example: base_url is missing"),
        ("https://api.example/v1", "http://api.example/v1", "vendor example: base_url .*plain http"),
        ('key_file = "example.key"', "", "one of the two"),
        ('key_file = "example.key"', f'key = "{KEY}"', "vendor example: key must not stand in this file"),
        ('key_file = "example.key"', 'key_file = "example.key"\nkey_environment = "X"', "one of the two"),
        ('key_file = "example.key"', 'key_file = ""', "key_file must be a text of 1"),
        (
            "[[vendor.model]]",
            "ca_file = 'no.pem'\n[[vendor.model]]",
            "ca_file cannot be used: .*No such file",
        ),
        ("[[vendor.model]]", "ca_file = 'example.key'\n[[vendor.model]]", "has no certificates in PEM form"),
        ("[[vendor.model]]", "proxy = 'x'\n[[vendor.model]]", "vendor example: 'proxy' is no field here"),
        ("[[vendor.model]]", "connect_s = 0\n[[vendor.model]]", "connect_s must be a number of seconds"),
        ("[[vendor.model]]", "connect_s = nan\n[[vendor.model]]", "connect_s must be a number of seconds"),
        ("[[vendor.model]]", "stream_gap_s = true\n[[vendor.model]]", "stream_gap_s must be a number"),
        (
            "[[vendor.model]]",
            "connections = 0\n[[vendor.model]]",
            "connections must be a whole number from 1",
        ),
        ('served_name = "small"', "", "vendor example, model 1: served_name is missing"),
        ('vendors_name = "their/small-8b"', "", r"model 1 \(small\): vendors_name is missing"),
        ("their/small-8b", "their\\u0000small", "vendors_name must have no control characters"),
        ("context_tokens = 32768", "context_tokens = 0", "context_tokens must be a whole number from 1"),
        ("max_output_tokens = 4096", "max_output_tokens = 40000", "from 1 to 32768"),
        ("input_micro_usd_per_mtok = 150_000", "", "input_micro_usd_per_mtok is missing"),
        ("output_micro_usd_per_mtok = 600_000", "", "output_micro_usd_per_mtok is missing"),
        ("= 600_000", "= 0.6", "output_micro_usd_per_mtok must be a whole number from 0 to 1000000000"),
        ("= 600_000", "= -1", "output_micro_usd_per_mtok must be a whole number"),
        ("= 600_000", "= true", "output_micro_usd_per_mtok must be a whole number"),
        ("= 600_000", "= 600_000\ndiscount = 1", r"model 1 \(small\): 'discount' is no field here"),
        ("= 600_000", "= 600_000\nlimit_field = 'n'", "limit_field must be max_tokens or max_completion"),
        ("[[vendor]]", "version = 1\n[[vendor]]", r"vendors\.toml: 'version' is no field here"),
        ("[[vendor]]", "[[vendor", r"vendors\.toml is not valid TOML"),
    ],
)
def test_every_fault_is_named_with_file_vendor_and_field(
    directory: Path, old: str, new: str, words: str
) -> None:
    text = HEAD + MODEL
    assert old in text
    message = refusal(directory, text.replace(old, new))
    assert message.startswith(str(directory / "vendors.toml"))
    assert re.search(words, message), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "vendor is missing"),
        ("vendor = []", "vendor must be 1 to 50 tables"),
        ("vendor = [3]", "vendor 1 must be a table"),
        ("[vendor]", "vendor must be 1 to 50 tables"),
        (HEAD, "vendor example: model is missing"),
        (HEAD + "model = [1]", "vendor example, model 1 must be a table"),
        (HEAD + MODEL + MODEL, "vendor example: model has the served_name 'small' twice"),
        ((HEAD + MODEL) * 2, "two vendors are called 'example'"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(directory: Path, text: str, words: str) -> None:
    assert words in refusal(directory, text)


def test_a_file_of_another_kind_is_refused(directory: Path) -> None:
    (directory / "vendors.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="is not valid TOML"):
        load_vendors(directory / "vendors.toml", default=directory)
    with pytest.raises(InvalidSetting, match="cannot be read: Is a directory"):
        load_vendors(directory, default=directory)
    (directory / "vendors.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidSetting, match="is larger than"):
        load_vendors(directory / "vendors.toml", default=directory)


def test_an_authority_of_the_operators_own_has_no_use_with_plain_http(directory: Path) -> None:
    text = HEAD.replace("https://api.example/v1", "http://127.0.0.1:1/v1") + "ca_file = 'x.pem'\n" + MODEL
    assert "ca_file has no use with plain http" in refusal(directory, text)
