"""Text of others, fit to be shown: nothing in it drives a terminal, turns its direction or hides.

What cannot be printed is control characters (C0, DEL, C1), formatting ones (bidirectional, of no
width), halves of surrogate pairs, private ones and blanks other than the space.
"""

import re

LONGEST_NOTE = 20_000
"""Characters of one message; the end of a server's log has a few thousand."""
UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""For a class of a pattern: characters without a width, or that turn the direction of others."""
FORMATS = (
    "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
"""The other characters of Unicode's category Cf; the last ones hide a text of their own."""
_ESCAPED = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{UNSEEN}{FORMATS}]")


def plain(text: str, *, keep: str = "") -> str:
    """Replace by a space each character that cannot be printed, but those in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else " " for char in text)


def message(text: str) -> str:
    """Return text of several lines as a terminal may show it, cut where it has no end."""
    cut = text if len(text) <= LONGEST_NOTE else f"{text[:LONGEST_NOTE]}…"
    return plain(cut, keep="\n\t")


def escaped_json(text: str) -> str:
    """Escape what a terminal would obey within the strings of JSON, which reads back the same."""
    return _ESCAPED.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    """JSON names UTF-16's units: two of a character beyond the first plane."""
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
