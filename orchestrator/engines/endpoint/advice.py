"""What to do about a request that a server refuses, from its status and its own words."""

import re

from orchestrator.experiment.endpoint_options import EndpointOptions
from workloads.transport.target import LENGTHS

KEY_WORDS = (
    "a key goes in the variable MOESERVE_API_KEY or with --api-key-file FILE, another header with "
    "--header NAME=…"
)
FIELDS = (
    "min_tokens", "ignore_eos", "stream_options", "temperature", "return_token_ids", *LENGTHS,
)  # fmt: skip
"""Fields that are sent and may be left out."""
UNKNOWN = re.compile(
    r"(?i)extra|unknown|unrecogni|unexpected|not (?:permitted|allowed|supported|valid)|unsupported"
    r"|invalid|forbidden|additional propert|do(?:es)? not support|cannot be used"
)


def advice(error_class: str, words: str, options: EndpointOptions) -> str:
    """Return the way out for a completion that failed; "" where none is known.

    `words` are `STATUS: what the server said`.
    """
    status = int(words[:3]) if words[:3].isdigit() else 0
    if status in (401, 403):
        return KEY_WORDS
    if error_class == "CONNECT" and "certificate" in words.lower():
        return "give the authority's certificate with --ca-file FILE, or take any with --insecure"
    if status in (400, 422) and (refused := refused_fields(words, options)):
        flags = " ".join(f"--omit-field {name}" for name in refused)
        return f"the server refuses {', '.join(refused)}: leave out with {flags}"
    if status in (400, 422, 500) and not options.texts and _wants_text(words):
        return "the server takes no token ids: --prompt text"
    if status in (404, 405) and re.search(r"(?i)\bmodel\b", words):
        return "the server does not know this model: --served-model-name NAME says which is meant"
    if status in (404, 405, 501):
        other = "completions" if options.api == "chat" else "chat"
        place = "/v1/chat/completions" if options.api == "chat" else "/v1/completions"
        return f"there is no {place}: try --api {other}"
    if status == 429:
        return "the server limits how much it is asked; measure it past that limit"
    return ""


def refused_fields(words: str, options: EndpointOptions) -> list[str]:
    """Return the fields that were sent and that the server's words say it does not take."""
    if not UNKNOWN.search(words):
        return []
    sent = [name for name in (*FIELDS, *options.extra_body) if name not in options.omit_fields]
    return [name for name in sent if re.search(rf"\b{re.escape(name)}\b", words)]


def _wants_text(words: str) -> bool:
    about = re.search(r"(?i)prompt|input|token.?ids?|str", words)
    return bool(about) and bool(re.search(r"(?i)string|\bstr\b|text|list|array|type", words))
