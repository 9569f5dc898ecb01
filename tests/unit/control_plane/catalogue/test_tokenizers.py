"""Tokenizers are found in the operator's catalogue, tried at start, and loaded when they are needed."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control_plane.catalogue import Catalogue, ChoiceText, InvalidEntry, Tokenizers, Uncountable, tokenizers
from tests.support.tokenizer_files import put_tokenizer

MODEL = "smollm2-135m-instruct"
OTHER = "qwen3-8b"
CATALOGUE = Catalogue.load()
CHAT = {"messages": [{"role": "user", "content": "x"}]}
ANSWER = [ChoiceText("once upon a time")]


def _load(directory: Path | None) -> Tokenizers:
    return Tokenizers.load(directory, CATALOGUE)


def test_without_a_directory_there_are_none(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        assert not _load(directory).models
    assert _load(None).get(MODEL) is None


def test_a_models_tokenizer_counts(tmp_path: Path) -> None:
    put_tokenizer(tmp_path, MODEL)
    found = _load(tmp_path)
    assert found.models == {MODEL}
    counter = found.get(MODEL)
    assert counter is not None
    assert counter.prompt_tokens(CHAT) > 3
    assert counter.completion_tokens(ANSWER, {}) > 3


def test_a_directory_of_no_model_is_named_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tokenizers" / "absent").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert not _load(tmp_path).models
    assert "absent is no model of the catalogue" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "is not there: copy it"),
        ("tokenizer.json", b"{}", "is no tokenizer"),
        ("tokenizer.json", b'{"version": "1.0", "model": {', "is no tokenizer"),
        ("tokenizer.json", b"\xff\xfe", "is no tokenizer"),
        ("tokenizer_config.json", None, "is not there: copy it"),
        ("tokenizer_config.json", b"{", "not JSON"),
        ("tokenizer_config.json", b"[" * 100_000, "nested too deeply"),
        ("tokenizer_config.json", b"[]", "must be a JSON object"),
        ("tokenizer_config.json", b"\xff", "is not UTF-8"),
        ("tokenizer_config.json", b'{"chat_template": "a\\n{% for %}"}', "chat_template: line 2"),
        ("chat_template.jinja", b"{{", "chat_template: line 1"),
        ("chat_template.jinja", b"\xff", "is not UTF-8"),
    ],
)
def test_a_broken_file_is_named_at_start(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    path = put_tokenizer(tmp_path, MODEL) / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidEntry, match=message) as caught:
        _load(tmp_path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("limit", "file"),
    [
        ("MOST_TOKENIZER_BYTES", "tokenizer.json"),
        ("MOST_CONFIG_BYTES", "tokenizer_config.json"),
        ("MOST_TEMPLATE_BYTES", "chat_template.jinja"),
    ],
)
def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, file: str
) -> None:
    (put_tokenizer(tmp_path, MODEL) / "chat_template.jinja").write_text("a template")
    monkeypatch.setattr(tokenizers, limit, 5)
    with pytest.raises(InvalidEntry, match=rf"{file}: file: is larger than 5 bytes"):
        _load(tmp_path)


def test_a_template_beside_the_configuration_goes_before_the_one_in_it(tmp_path: Path) -> None:
    directory = put_tokenizer(tmp_path, MODEL, template="{{ messages[0].content * 50 }}")
    (directory / "chat_template.jinja").write_text("{{ bos_token }}{{ eos_token }}")
    counter = _load(tmp_path).get(MODEL)
    assert counter is not None
    assert counter.prompt_tokens(CHAT) == 2


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    directory = put_tokenizer(tmp_path, MODEL)
    several = [{"name": "rag", "template": "{{ x }}"}, {"name": "default", "template": "{{ bos_token }}"}]
    config = {"bos_token": "<|endoftext|>", "chat_template": several}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    counter = _load(tmp_path).get(MODEL)
    assert counter is not None
    assert counter.prompt_tokens(CHAT) == 1


def test_a_model_without_a_template_counts_completions_only(tmp_path: Path) -> None:
    put_tokenizer(tmp_path, MODEL, template=None)
    counter = _load(tmp_path).get(MODEL)
    assert counter is not None
    assert counter.prompt_tokens({"prompt": "once"}) > 0
    with pytest.raises(Uncountable, match="no chat template"):
        counter.prompt_tokens(CHAT)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models whose tokenizers were built, in order."""
    names: list[str] = []
    build = tokenizers._build

    def counted(source: tokenizers._Source, content: bytes) -> object:
        names.append(source.path.parent.name)
        return build(source, content)

    monkeypatch.setattr(tokenizers, "_build", counted)
    return names


def _count(found: Tokenizers, *models: str) -> None:
    for model in models:
        counter = found.get(model)
        assert counter is not None
        assert counter.completion_tokens(ANSWER, {}) > 0


def test_models_with_the_same_file_share_one_tokenizer(tmp_path: Path, built: list[str]) -> None:
    for model in (MODEL, OTHER):
        put_tokenizer(tmp_path, model)
    found = _load(tmp_path)
    assert len(built) == 1
    _count(found, MODEL, OTHER, MODEL)
    assert len(built) == 2


def test_the_tokenizer_that_was_not_needed_for_longest_makes_room(
    tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tokenizer(tmp_path, MODEL)
    put_tokenizer(tmp_path, OTHER, bos=True)
    monkeypatch.setattr(tokenizers, "MOST_LOADED_BYTES", 10)
    found = _load(tmp_path)
    built.clear()
    _count(found, MODEL, MODEL, OTHER, OTHER, MODEL)
    assert built == [MODEL, OTHER, MODEL]


def test_many_threads_load_a_tokenizer_once(tmp_path: Path, built: list[str]) -> None:
    put_tokenizer(tmp_path, MODEL)
    found = _load(tmp_path)
    built.clear()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: _count(found, MODEL), range(32)))
    assert built == [MODEL]


def test_a_file_that_changed_since_the_start_is_not_trusted(tmp_path: Path) -> None:
    path = put_tokenizer(tmp_path, MODEL) / "tokenizer.json"
    counter = _load(tmp_path).get(MODEL)
    assert counter is not None
    content = path.read_text()
    path.write_text(content + " ")
    changed = "was changed: restart the control plane"
    with pytest.raises(Uncountable, match=changed):
        counter.completion_tokens(ANSWER, {})
    with pytest.raises(Uncountable, match=changed):
        counter.prompt_tokens(CHAT)
    path.write_text(content)
    assert counter.completion_tokens(ANSWER, {}) > 0
