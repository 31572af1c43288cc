"""Numbers from outside, held to a least and a most where they enter.

A number that a server or a file gives is a size, an index or a summand a few lines on. So each
reader names the range its numbers can have, once, and says what becomes of one beyond: it is
unknown (`or_none`, `parse`), refused with a message (`require`) or pushed back (`clamp`).
"""

from dataclasses import dataclass

from catalog.errors import BadValue

INT32_MOST = 2**31 - 1
INT64_MOST = 2**63 - 1
FLOAT_WHOLE_MOST = 2**53
"""Up to here every whole number is a float64 of its own."""


@dataclass(frozen=True, slots=True)
class WholeRange:
    """Whole numbers from `least` to `most`, both included; true and false are none."""

    least: int
    most: int

    def __contains__(self, value: object) -> bool:
        return type(value) is int and self.least <= value <= self.most

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def or_none(self, value: object) -> int | None:
        """Return the number, None if it is none of these."""
        return value if isinstance(value, int) and value in self else None

    def require(self, value: object, what: str, *, where: str = "") -> int:
        """Return the number; raise `BadValue` if it is none of these."""
        if isinstance(value, int) and value in self:
            return value
        raise BadValue(what, value, self.allowed, where=where)

    def clamp(self, value: float) -> int:
        """Return the nearest number of the range; `least` for NaN."""
        if value != value:
            return self.least
        return int(min(max(value, self.least), self.most))

    def parse(self, text: str) -> int | None:
        """Read plain decimal digits with a sign or none; None if they are none of these.

        Any length is safe: Python's own `int` raises ValueError beyond 4,300 digits.
        """
        longest = 1 + max(len(str(self.least)), len(str(self.most)))
        plain = text.strip()
        digits = plain.lstrip("+-")
        if len(plain) > longest or len(plain) - len(digits) > 1:
            return None
        if not (digits.isascii() and digits.isdigit()):
            return None
        return self.or_none(int(plain))


@dataclass(frozen=True, slots=True)
class RealRange:
    """Finite numbers from `least` to `most`, both included, as float64."""

    least: float
    most: float

    def __contains__(self, value: object) -> bool:
        # NaN compares false; an int of any size compares without becoming a float.
        return type(value) in (int, float) and self.least <= value <= self.most  # type: ignore[operator]

    @property
    def allowed(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def or_none(self, value: object) -> float | None:
        """Return the number, None if it is none of these."""
        return float(value) if isinstance(value, int | float) and value in self else None

    def require(self, value: object, what: str, *, where: str = "") -> float:
        """Return the number; raise `BadValue` if it is none of these."""
        if isinstance(value, int | float) and value in self:
            return float(value)
        raise BadValue(what, value, self.allowed, where=where)

    def clamp(self, value: float) -> float:
        """Return the nearest number of the range; `least` for NaN."""
        if value != value:
            return self.least
        return float(min(max(value, self.least), self.most))

    def parse(self, text: str) -> float | None:
        """Read a number as Python's `float` does; None if it is none of these."""
        try:
            return self.or_none(float(text))
        except ValueError:
            return None


TOKENS = WholeRange(0, INT32_MOST)
"""Tokens of one request, prompt or answer: what a column of request rows holds."""
TOKEN_IDS = WholeRange(0, INT32_MOST)
COUNTS = WholeRange(0, FLOAT_WHOLE_MOST)
"""Sums over many requests, bytes of a file: no float64 loses one of them."""
MEASURED = RealRange(-float(FLOAT_WHOLE_MOST), float(FLOAT_WHOLE_MOST))
"""A reading of a meter: sums, differences and products of a few stay finite."""
