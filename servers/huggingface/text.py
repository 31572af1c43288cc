"""Text to tokens and back, where the model has a tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.errors import BadValue

UNFINISHED = "\ufffd"
"""What a tokenizer writes for a character of which some bytes are still to come."""


class TextCodec:
    """A tokenizer, or none: then prompts must be token ids and answers show them as `<7>`."""

    def __init__(self, tokenizer: Any = None) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        return tuple(self._needed().encode(text, add_special_tokens=special))

    def encode_chat(self, messages: Sequence[dict[str, Any]]) -> tuple[int, ...]:
        """Apply the model's chat template; without one the contents follow each other."""
        tokenizer = self._needed()
        if tokenizer.chat_template is None:
            return self.encode(" ".join(str(each.get("content", "")) for each in messages))
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tuple(ids)

    def decode(self, tokens: Sequence[int]) -> str:
        if self._tokenizer is None:
            return "".join(f" <{token}>" for token in tokens)
        return str(self._tokenizer.decode(list(tokens)))

    def _needed(self) -> Any:
        if self._tokenizer is None:
            raise BadValue("prompt", "text", "token ids: this model has no tokenizer")
        return self._tokenizer


class TextStream:
    """Text of a growing answer, without characters that are not whole yet."""

    def __init__(self, text: TextCodec) -> None:
        self._text = text
        self._tokens: list[int] = []
        self._stable = self._shown = 0

    def add(self, tokens: Sequence[int], *, last: bool) -> str:
        """Return what the tokens add; a character of several tokens comes with the last of them.

        Only the tokens since the last two pieces are decoded again: an earlier one decides whether
        the next begins with a space.
        """
        self._tokens += tokens
        shown = self._text.decode(self._tokens[self._stable : self._shown])
        grown = self._text.decode(self._tokens[self._stable :])
        if grown.endswith(UNFINISHED) and not last:
            return ""
        self._stable, self._shown = self._shown, len(self._tokens)
        return grown[len(shown) :]


def load_text(folder: Path | str, *, revision: str | None = None) -> TextCodec:
    """Read the tokenizer of a checkpoint; one without any is served by token ids."""
    from transformers import AutoTokenizer

    if isinstance(folder, Path) and not (folder / "tokenizer_config.json").exists():
        return TextCodec()
    return TextCodec(AutoTokenizer.from_pretrained(str(folder), revision=revision))
