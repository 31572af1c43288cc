"""A model's own tokenizer and chat template, read from its folder; nothing is downloaded.

The template is run as transformers runs it, in Jinja's sandbox, with the same variables.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from catalog.errors import BadFile, MissingExtra
from catalog.reader.file import HF_ID, cached_config
from workloads.load.content import Message, TokenIds

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
LARGEST_CONFIG_BYTES = 10_000_000
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


def folder_of(name: str) -> Path:
    """Return the folder of a tokenizer by path, or by its name in the hub's cache."""
    cached = cached_config(name) if HF_ID.fullmatch(name) else None
    folder = cached.parent if cached is not None and not Path(name).exists() else Path(name)
    if not (folder / FILE).is_file():
        raise BadFile(folder / FILE, "no such tokenizer")
    return folder


class Tokenizer:
    """Encodes as a server of the model does."""

    def __init__(self, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer as Encoder
        except ImportError:
            raise MissingExtra("a file of text", "hf") from None
        path = folder / FILE
        if not path.is_file():
            raise BadFile(path, "no such tokenizer")
        try:
            self._encoder = Encoder.from_file(str(path))
        except Exception as error:  # noqa: BLE001 (the library raises bare Exception)
            raise BadFile(path, f"is no tokenizer: {error}") from None
        self._template = _chat_template(folder)

    @property
    def has_template(self) -> bool:
        return self._template is not None

    def encode(self, texts: Sequence[str], *, special: bool = True) -> list[TokenIds]:
        """Return the ids of each text, with what the model puts before one where `special`."""
        found = self._encoder.encode_batch(list(texts), add_special_tokens=special)
        return [np.array(each.ids, np.int32) for each in found]

    def encode_chat(self, messages: Sequence[Message]) -> TokenIds:
        """Return the ids of a chat with the beginning of the answer, as the template writes it.

        ValueError where the template does not take the messages.
        """
        assert self._template is not None
        try:
            text = self._template.render(messages=list(messages), add_generation_prompt=True)
        except Exception as error:  # noqa: BLE001 (a template raises what it likes)
            raise ValueError(f"the model's chat template refuses them: {error}") from None
        return self.encode([text], special=False)[0]


@lru_cache(maxsize=4)
def tokenizer_in(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


class _Template:
    """A template and the tokens that it may name."""

    def __init__(self, text: str, tokens: dict[str, str]) -> None:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005
        self._compiled, self._tokens = environment.from_string(text), tokens

    def render(self, **variables: Any) -> str:
        return self._compiled.render(tools=None, documents=None, **self._tokens, **variables)


def _chat_template(folder: Path) -> _Template | None:
    config = _config(folder / CONFIG)
    text = config.get("chat_template")
    if isinstance(text, list):
        named = {each.get("name"): each.get("template") for each in text if isinstance(each, dict)}
        text = named.get("default")
    path = folder / TEMPLATE
    if path.is_file() and path.stat().st_size <= LARGEST_CONFIG_BYTES:
        text = path.read_text(encoding="utf-8", errors="replace")
    if not isinstance(text, str):
        return None
    try:
        return _Template(text, {name: _token(config.get(name)) for name in SPECIAL})
    except ImportError:
        return None  # without Jinja the server writes the chat itself
    except Exception as error:  # noqa: BLE001 (Jinja's errors, before Jinja is imported)
        raise BadFile(folder, f"its chat template cannot be read: {error}") from None


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > LARGEST_CONFIG_BYTES:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"is no JSON object: {error}") from None


def _token(given: object) -> str:
    """A special token stands as text, or as an object with its `content`."""
    if isinstance(given, dict):
        given = given.get("content")
    return given if isinstance(given, str) else ""


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise ValueError(message)
