"""A foreign model config, read field by field: every value is checked before it is believed."""

from collections.abc import Iterator, Mapping

from catalog.errors import BadFile, NotCounted

_LARGEST = 10**9
"""Above any size of a real model, and small enough that no count overflows a float."""

NOT_SIZES = ("quantization_config", "compression_config", "quantization")
"""Objects that tell of data types: what is not known in them has its own refusal."""


class MissingKey(BadFile):
    """A size that every count needs is not in the file."""


class Fields:
    """A `config.json` by its keys; several keys are several families' names of one thing.

    Keys that are not in the file have the defaults of the family's class, where those are known.
    It remembers what was read, so that what was not can be told.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        *,
        where: object,
        defaults: Mapping[str, object] | None = None,
    ) -> None:
        self._values = values
        self._defaults = defaults or {}
        self._read: set[str] = set()
        self._inner: dict[str, Fields] = {}
        self.where = where

    def with_defaults(self, defaults: Mapping[str, object]) -> "Fields":
        """Return these fields with a class's defaults behind them."""
        found = Fields(self._values, where=self.where, defaults=defaults)
        found._read, found._inner = self._read, self._inner
        return found

    def overlaid(self, values: Mapping[str, object]) -> "Fields":
        """Return these fields with some more or other values."""
        return Fields({**self._values, **values}, where=self.where, defaults=self._defaults)

    def given(self, *keys: str) -> bool:
        """Say whether the file itself sets one of these; an empty list sets nothing."""
        return any(self._values.get(key) not in (None, []) for key in keys)

    def has(self, *keys: str) -> bool:
        """Say whether the file, or else the family's class, sets one of these."""
        return self._find(keys)[1] is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys of the file itself, in its order."""
        return tuple(self._values)

    def raw(self, *keys: str) -> object:
        """Return the first of these that is set, unchecked; None when none is."""
        self._read.update(keys)
        return self._find(keys)[1]

    def integer(
        self, *keys: str, default: int | None = None, least: int = 1, most: int = _LARGEST
    ) -> int:
        """Return the value of these names of one size; without it and a default: an error.

        A list with an equal entry for each layer is that entry. Two names with two values are
        an error.
        """
        key, value = self._find(keys)
        if value is None:
            if default is None:
                raise MissingKey(self.where, f"{' or '.join(keys)}: is missing")
            self._read.update(keys)
            return default
        found = self._whole(key, value, least, most)
        for other in keys:
            if other != key and self.given(other):
                second = self._whole(other, self._values[other], least, most)
                if second != found:
                    raise self.bad(other, f"{second} contradicts {key} {found}")
        self._read.update(keys)
        return found

    def _whole(self, key: str, value: object, least: int, most: int) -> int:
        if isinstance(value, list) and value:
            if any(entry != value[0] for entry in value):
                raise self.uncounted(key, "differs from layer to layer")
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.bad(key, f"got {_shown(value)}, allowed: a whole number, {least} to {most}")
        return value

    def boolean(self, *keys: str, default: bool) -> bool:
        key, value = self._find(keys)
        self._read.update(keys)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.bad(key, f"got {_shown(value)}, allowed: true or false")
        return value

    def text(self, *keys: str, default: str = "") -> str:
        key, value = self._find(keys)
        self._read.update(keys)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.bad(key, f"got {_shown(value)}, allowed: text")
        return value

    def is_object(self, key: str) -> bool:
        return isinstance(self._values.get(key), Mapping)

    def is_list(self, key: str) -> bool:
        return isinstance(self._values.get(key), list)

    def sequence(self, *keys: str, length: int | None = None) -> list[object]:
        """Return a list, empty when the key is absent; `length` is that of all layers."""
        key, value = self._find(keys)
        self._read.update(keys)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(key, f"got {_shown(value)}, allowed: a list")
        if not value or length is None:
            return value
        more = self._values.get("num_nextn_predict_layers")
        if isinstance(more, int) and more > 0 and len(value) == length + more:
            return value[:length]  # those after the last layer predict further tokens
        if len(value) != length:
            raise self.bad(key, f"{len(value)} entries for {length} layers")
        return value

    def numbers(self, key: str, *, length: int | None = None) -> list[int]:
        """Return a list of whole numbers, from 0 on; empty when the key is absent."""
        found = self.sequence(key, length=length)
        for value in found:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
                raise self.bad(key, f"got {_shown(value)} in it, allowed: whole numbers from 0")
        return [value for value in found if isinstance(value, int)]

    def nested(self, key: str) -> "Fields | None":
        """Return an object inside this one, None when the key is absent."""
        value = self._values.get(key)
        self._read.add(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.bad(key, f"got {_shown(value)}, allowed: an object")
        if key not in self._inner:
            self._inner[key] = Fields(value, where=f"{self.where}: {key}")
        return self._inner[key]

    def skip(self, *prefixes: str) -> None:
        """Take keys that begin so as read: they describe a part that the model does not have."""
        keys = (*self._values, *self._defaults)
        self._read.update(key for key in keys if key.startswith(prefixes))

    def supersede(self, *keys: str) -> None:
        """Take what the class adds under these names as read: the file says it by other names."""
        self._read.update(key for key in keys if key not in self._values)

    def assumed(self) -> Iterator[tuple[str, object]]:
        """Give what the class adds where the file is silent, and nobody asked for."""
        for key, value in self._defaults.items():
            if key not in self._values and key not in self._read:
                yield key, value

    def unread(self) -> Iterator[tuple[str, object]]:
        """Give every key of the file that nobody asked for, those inside objects with a dot."""
        for key, value in self._values.items():
            if key not in self._read:
                yield key, value
        for key, inner in self._inner.items():
            if key in NOT_SIZES:
                continue
            for name, value in inner.unread():
                yield f"{key}.{name}", value

    def bad(self, key: str, problem: str) -> BadFile:
        return BadFile(self.where, f"{printable_key(key)}: {problem}")

    def uncounted(self, key: str, problem: str) -> NotCounted:
        return NotCounted(self.where, (printable_key(key),), problem)

    def _find(self, keys: tuple[str, ...]) -> tuple[str, object]:
        """Return the first key that is set: of the file, else of the class where the file has none.

        A null in the file is the publisher's word: the class's default does not replace it.
        """
        for key in keys:
            if self._values.get(key) not in (None, []):
                return key, self._values[key]
        if not any(key in self._values for key in keys):
            for key in keys:
                if self._defaults.get(key) is not None:
                    return key, self._defaults[key]
        return keys[0], None


def printable_key(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 40 else text[:40] + "…"
