"""A foreign model config, read field by field: every value is checked before it is believed."""

from collections.abc import Mapping

from catalog.errors import BadFile

_LARGEST = 10**9
"""Above any size of a real model, and small enough that no count overflows a float."""


class Fields:
    """A `config.json` by its keys; several keys are several families' names of one thing."""

    def __init__(self, values: Mapping[str, object], *, where: object) -> None:
        self._values = values
        self.where = where

    def has(self, *keys: str) -> bool:
        return any(self._values.get(key) is not None for key in keys)

    def starts_with(self, *prefixes: str) -> str | None:
        """Return the first set key that begins in one of these ways."""
        found = (key for key, value in self._values.items() if value is not None)
        return next((key for key in found if key.startswith(prefixes)), None)

    def integer(
        self, *keys: str, default: int | None = None, least: int = 1, most: int = _LARGEST
    ) -> int:
        """Return the first of these keys that is set; without it and a default: an error."""
        key = next((key for key in keys if self.has(key)), None)
        if key is None:
            if default is None:
                raise self.bad(" or ".join(keys), "is missing")
            return default
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.bad(key, f"got {_shown(value)}, allowed: a whole number, {least} to {most}")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.bad(key, f"got {_shown(value)}, allowed: true or false")
        return value

    def text(self, key: str, *, default: str = "") -> str:
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.bad(key, f"got {_shown(value)}, allowed: text")
        return value

    def is_object(self, key: str) -> bool:
        return isinstance(self._values.get(key), Mapping)

    def is_list(self, key: str) -> bool:
        return isinstance(self._values.get(key), list)

    def sequence(self, key: str) -> list[object]:
        """Return a list, empty when the key is absent."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(key, f"got {_shown(value)}, allowed: a list")
        return value

    def nested(self, key: str) -> "Fields | None":
        """Return an object inside this one, None when the key is absent."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.bad(key, f"got {_shown(value)}, allowed: an object")
        return Fields(value, where=f"{self.where}: {key}")

    def bad(self, key: str, problem: str) -> BadFile:
        return BadFile(self.where, f"{key if key.isprintable() else repr(key)}: {problem}")


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 40 else text[:40] + "…"
