"""Damage to bytes that look right: what random bytes would never get past the first check."""

from collections.abc import Callable, Sequence
from random import Random

NUMBERS = (
    b"0", b"-1", b"1", b"2147483647", b"2147483648", b"-2147483649", b"4294967296",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"1e308", b"1e309", b"-1e308", b"1e-320", b"NaN", b"Infinity",
    b"1" + b"0" * 400, b"9" * 5000, b"00", b"0x10", b"1_000", b"true", b"null", b'"8"', b"[5]",
    b"{}", b"10000000000",
)  # fmt: skip
"""What stands for a number where another one is expected."""
WORDS = (
    b"\\ud800", b"\x00", b"\x1b]52;c;eA==\x07", b"\xc2\x9b31m", b"\xe2\x80\xae", b"\xff\xfe",
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b",", b'"', b"'", b":", b"{", b"}", b"[", b"]",
    b"=1+1", b"\t", b" ", b"data: ", b"data: [DONE]", b"0\r\n\r\n", b"ffffffffffffffffff\r\n",
    b"a" * 300, b"*", b"&a", b"!!python/object:os.system", b"2026-99-99", b"99:99:99",
)  # fmt: skip
DIGITS = frozenset(b"0123456789")


def _flip(rng: Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 9, 10, 13, 32, 34, 44, 127, 128, 255))


def _cut(rng: Random, data: bytearray) -> None:
    begin = rng.randrange(len(data))
    del data[begin : begin + rng.randint(1, 1 + len(data) // 4)]


def _repeat(rng: Random, data: bytearray) -> None:
    begin = rng.randrange(len(data))
    piece = data[begin : begin + rng.randint(1, 64)]
    data[begin:begin] = piece * rng.choice((1, 1, 2, 8, 50))


def _truncate(rng: Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _word(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.choice(WORDS)


def _number(rng: Random, data: bytearray) -> None:
    """Replace a run of digits, from a random place on."""
    start = rng.randrange(len(data))
    begin = next((at for at in range(start, len(data)) if data[at] in DIGITS), None)
    if begin is None:
        return
    end = begin
    while end < len(data) and data[end] in b"0123456789.eE+":
        end += 1
    data[begin:end] = rng.choice(NUMBERS)


def _swap(rng: Random, data: bytearray) -> None:
    one, other = rng.randrange(len(data)), rng.randrange(len(data))
    data[one], data[other] = data[other], data[one]


KINDS: Sequence[Callable[[Random, bytearray], None]] = (
    _flip, _set, _cut, _repeat, _truncate, _word, _number, _number, _number, _swap,
)  # fmt: skip
MOST_BYTES = 200_000


def mutated(rng: Random, data: bytes) -> bytes:
    """Return the data with one to four kinds of damage."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        if changed:
            rng.choice(KINDS)(rng, changed)
    return bytes(changed[:MOST_BYTES])
