"""The tokenizers that this control plane has: `<catalogue>/tokenizers/<model id>/`, with the files of the
model's repository: tokenizer.json, tokenizer_config.json and, where there is one, chat_template.jinja.

All are read and tried at start, so that a broken one is told then, and let go of again: a tokenizer of
150,000 tokens (12 MB as a file) takes 0.4 s to load and holds 50 MB. It is loaded when it is first needed,
and the one not needed for longest goes where they are too many.
"""

import ctypes
import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import jinja2
from tokenizers import Tokenizer

from control_plane.catalogue.catalogue import Catalogue
from control_plane.catalogue.chat_template import ChatTemplate
from control_plane.catalogue.counter import Counter
from control_plane.catalogue.entry import InvalidEntry

logger = logging.getLogger(__name__)

# The largest in use have 33 MB.
MOST_TOKENIZER_BYTES = 64 * 1024 * 1024
MOST_CONFIG_BYTES = 8 * 1024 * 1024
MOST_TEMPLATE_BYTES = 1024 * 1024
# Files of the tokenizers in memory at once; each takes some four times its file.
MOST_LOADED_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    size_bytes: int
    # Models whose files are the same share one tokenizer in memory.
    sha256: bytes


class Tokenizers:
    """Counters by model id."""

    def __init__(self, counters: dict[str, Counter]) -> None:
        self._counters = counters

    @classmethod
    def load(cls, directory: Path | None, catalogue: Catalogue) -> Self:
        """Of the operator's catalogue directory; none where there is no directory, or nothing in it.

        Raises InvalidEntry for a file that is missing, too large or broken.
        """
        root = directory / "tokenizers" if directory is not None else None
        if root is None or not root.is_dir():
            return cls({})
        loaded = _Loaded(MOST_LOADED_BYTES)
        counters = {}
        tried: set[bytes] = set()
        for model in sorted(each for each in root.iterdir() if each.is_dir()):
            entry = catalogue.get(model.name)
            if entry is None:
                logger.warning("%s is no model of the catalogue: its tokenizer is not used", model)
                continue
            source, content = _read_source(model / "tokenizer.json")
            if source.sha256 not in tried:
                _build(source, content)
                tried.add(source.sha256)
            template = _read_template(model)
            counters[model.name] = Counter(
                partial(loaded.get, source), template, entry.model.tool_call_parser
            )
        _give_memory_back()
        return cls(counters)

    @property
    def models(self) -> Set[str]:
        """The ids of the models that can be counted for."""
        return self._counters.keys()

    def get(self, model_id: str) -> Counter | None:
        return self._counters.get(model_id)


class _Loaded:
    """The tokenizers in memory, each once. Used by many threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        # The one used last at the end.
        self._kept: OrderedDict[bytes, tuple[Tokenizer, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, source: _Source) -> Tokenizer:
        """Raises InvalidEntry where the file was changed since it was tried."""
        found = self._find(source)
        if found is not None:
            return found
        # One at a time: those who wait for the same file find it then.
        with self._loading:
            found = self._find(source)
            if found is not None:
                return found
            now, content = _read_source(source.path)
            if now.sha256 != source.sha256:
                raise InvalidEntry(str(source.path), "file", "was changed: restart the control plane")
            built = _build(source, content)
            del content
            with self._lock:
                self._kept[source.sha256] = (built, source.size_bytes)
                while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._most_bytes:
                    self._kept.popitem(last=False)
            _give_memory_back()
            return built

    def _find(self, source: _Source) -> Tokenizer | None:
        with self._lock:
            found = self._kept.get(source.sha256)
            if found is None:
                return None
            self._kept.move_to_end(source.sha256)
            return found[0]


def _read_source(path: Path) -> tuple[_Source, bytes]:
    content = _read(path, MOST_TOKENIZER_BYTES)
    return _Source(path, len(content), hashlib.sha256(content).digest()), content


def _build(source: _Source, content: bytes) -> Tokenizer:
    try:
        built = Tokenizer.from_buffer(content)
    except ValueError as error:
        raise InvalidEntry(str(source.path), "file", f"is no tokenizer: {error}") from error
    # What a file asks for, an engine does not do.
    built.no_truncation()
    built.no_padding()
    return built


def _read_template(model: Path) -> ChatTemplate | None:
    path = model / "tokenizer_config.json"
    config = _read_config(path)
    source = _configured_template(config.get("chat_template"))
    beside = model / "chat_template.jinja"
    if beside.is_file():
        path = beside
        source = _text(path, _read(path, MOST_TEMPLATE_BYTES))
    if source is None:
        return None
    try:
        return ChatTemplate(source, dict(_special_tokens(config)))
    except jinja2.TemplateSyntaxError as error:
        raise InvalidEntry(str(path), "chat_template", f"line {error.lineno}: {error.message}") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(_text(path, _read(path, MOST_CONFIG_BYTES)))
    except RecursionError:
        raise InvalidEntry(str(path), "file", "nested too deeply") from None
    except ValueError as error:
        if isinstance(error, InvalidEntry):
            raise
        raise InvalidEntry(str(path), "file", f"not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidEntry(str(path), "file", "must be a JSON object")
    return config


def _configured_template(value: Any) -> str | None:
    """A template, or the one named "default" of several."""
    if isinstance(value, list):
        named = {each.get("name"): each.get("template") for each in value if isinstance(each, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _special_tokens(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            yield name, text


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as opened:
            content = opened.read(most_bytes + 1)
    except FileNotFoundError:
        raise InvalidEntry(str(path), "file", "is not there: copy it from the model's repository") from None
    except OSError as error:
        raise InvalidEntry(str(path), "file", f"cannot be read: {error.strerror}") from error
    if len(content) > most_bytes:
        raise InvalidEntry(str(path), "file", f"is larger than {most_bytes} bytes")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidEntry(str(path), "file", "is not UTF-8") from error


def _give_memory_back() -> None:
    """Loading leaves as much free memory in the allocator as it fills: 107 MB resident became 50."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc has it, musl has not
        trim(0)
