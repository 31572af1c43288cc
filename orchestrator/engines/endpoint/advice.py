"""What to do about a request that a server refuses, from its status and its own words."""

import re

from orchestrator.experiment.endpoint_options import EndpointOptions
from workloads.transport.target import LENGTHS

KEY_WORDS = (
    "a key goes in the variable MOESERVE_API_KEY or with --api-key-file FILE, another header with "
    "--header NAME=…"
)
FIELDS = ("min_tokens", "ignore_eos", "stream_options", "temperature", "return_token_ids")
"""Fields that are sent and may be left out, beside one of two lengths of a chat."""
UNKNOWN = re.compile(
    r"(?i)extra|unknown|unrecogni|unexpected|not (?:permitted|allowed|supported|valid)|unsupported"
    r"|invalid|forbidden|additional propert|do(?:es)? not support|cannot be used|must be strictly"
    r"|only one of|not both|mutually"
)
BOUNDS = re.compile(r"(?i)(?:greater|less|larger|smaller) than|at (?:least|most)|must be|should be")
"""Of a field that is not a length: its value is not taken, and may be left out."""
KIND = re.compile(r'"(?:type|code)"\s*:\s*"[^"]*"')
"""An error's kind is of a few, `invalid_request_error` above all, and says nothing of the cause."""
STATUS = re.compile(r'\A(\d{3}):|"(?:code|status|status_code)"\s*:\s*"?(\d{3})\b')
TOO_LONG = re.compile(r"(?i)context (?:length|window)|maximum.{0,40}length|max_new_tokens|too long")
NO_MODEL = re.compile(
    r"(?i)(?:invalid|unknown|no such) model"
    r"|\bmodel\b.{0,120}(?:not (?:found|available|loaded|served)|not exist)"
)
REFUSED = frozenset({400, 422})
UNAUTHORISED = 401
NOWHERE = frozenset({404, 405, 501})
NAME_WORDS = "the server does not know this model: --served-model-name NAME says which is meant"
TEXT_WORDS = "the server takes no token ids: --prompt text"
LIMITED_WORDS = "the server limits how much it is asked; measure it past that limit"
BUSY_WORDS = "the server has more to do than it can; wait until it is idle"
PAID_WORDS = "the account behind the key may not ask; see to its credit"
PAGE_WORDS = "something before the server answers with a page; measure the server itself"
UNHEEDED_WORDS = (
    "the server does not heed max_tokens; a measurement needs answers of a known length"
)
CODED_WORDS = "switch compression off on the way (nginx: gzip off), or measure the server itself"
THOUGHTS_WORDS = (
    "where thoughts are counted and not streamed, let the server stream or leave them: for vLLM "
    """and SGLang --extra-body '{"chat_template_kwargs":{"enable_thinking":false}}'"""
)
BY_STATUS = {401: KEY_WORDS, 403: KEY_WORDS, 429: LIMITED_WORDS}
SAID = {
    **BY_STATUS,
    402: PAID_WORDS,
    413: "the way to the server takes no request of that size (nginx: client_max_body_size)",
    529: BUSY_WORDS,
}
"""What a status says of a completion."""

BY_CLASS = {
    "HTTP_3XX": "give the address that it leads to",
    "TOO_LARGE": UNHEEDED_WORDS,
    "TIMEOUT": "a server that needs longer has it with --stall-timeout S",
    "USAGE_MISSING": (
        "without usage each event must be one token: let the server send usage, or one token an "
        "event"
    ),
}


def advice(error_class: str, words: str, options: EndpointOptions) -> str:
    """Return the way out for a completion that failed; "" where none is known.

    `words` are `STATUS: what the server said`, or an error out of its stream.
    """
    if by_class := _by_class(error_class, words, options):
        return by_class
    status, said = _status(words), KIND.sub("", words)
    if status != UNAUTHORISED and re.match(r"(?i)\d{3}: *<(?:!doctype|html)", words):
        return PAGE_WORDS
    if status in SAID:
        return SAID[status]
    if status in REFUSED | NOWHERE and (other := _other_api(said, options)):
        return other
    if status in NOWHERE:
        known = status == 501 or not re.search(r"(?i)\bmodel\b", said)
        return _no_place(options) if known else NAME_WORDS
    if status in REFUSED:
        return _refusal(said, options)
    broken = status == 500 or error_class == "STREAM_ERROR"
    return TEXT_WORDS if broken and _wants_text(said, options) else ""


def _by_class(error_class: str, words: str, options: EndpointOptions) -> str:
    if error_class == "CONNECT" and "certificate" in words.lower():
        return "give the authority's certificate with --ca-file FILE, or take any with --insecure"
    if error_class == "TOKEN_COUNT_MISMATCH":
        return _counts(words, options)
    if error_class in ("BAD_CONTENT", "BAD_HTTP"):
        return _content(words, error_class)
    return BY_CLASS.get(error_class, "")


def _counts(words: str, options: EndpointOptions) -> str:
    """Return the way out of counts that disagree, by which is larger."""
    seen = re.search(r"(\d{1,12}) tokens seen, usage says (\d{1,12})", words)
    if options.api == "chat" and (seen is None or int(seen[1]) < int(seen[2])):
        return THOUGHTS_WORDS
    if seen and int(seen[1]) > int(seen[2]):
        return "each event with text counts as a token: let the server stream the answer alone"
    return ""


def _content(said: str, error_class: str) -> str:
    """Return the way out of an answer that is no plain event stream."""
    if "coding" in said:
        return CODED_WORDS
    if error_class == "BAD_HTTP":
        return ""
    if _status(said) in SAID:
        return SAID[_status(said)]
    if '"error"' in said:
        return "the server says what is wrong"
    return "a measurement needs an event stream: status 200 and content type text/event-stream"


def _status(words: str) -> int:
    found = STATUS.search(words)
    return int(found[1] or found[2]) if found else 0


def _other_api(said: str, options: EndpointOptions) -> str:
    """Return the other API where the server's words point there."""
    if options.api == "chat":
        lost = re.search(r"(?i)chat.template", said)
        return "the model has no chat template: try --api completions" if lost else ""
    chat = re.search(r"(?i)chat/completions|\bchat model", said)
    return "the server points to its chat API: try --api chat" if chat else ""


def _no_place(options: EndpointOptions) -> str:
    other = "completions" if options.api == "chat" else "chat"
    place = "/v1/chat/completions" if options.api == "chat" else "/v1/completions"
    return (
        f"there is no {place}: try --api {other}, or where the API is elsewhere give --endpoint "
        f"its whole address, …{place.removeprefix('/v1')}"
    )


def _refusal(said: str, options: EndpointOptions) -> str:
    """Return the way out of a request that the server has read and does not take."""
    if TOO_LONG.search(said):
        return ""
    if "vocab" in said.lower():
        return (
            "the server's vocabulary is smaller than that of the model that was named: name its "
            "own with --model, or send --prompt text"
        )
    if refused := refused_fields(said, options):
        flags = " ".join(f"--omit-field {name}" for name in refused)
        return f"the server refuses {', '.join(refused)}: leave out with {flags}"
    if NO_MODEL.search(said):
        return NAME_WORDS
    return TEXT_WORDS if _wants_text(said, options) else ""


def refused_fields(words: str, options: EndpointOptions) -> list[str]:
    """Return the fields that were sent and that the server's words say it does not take.

    Of the two lengths of a chat one must be sent: the one that is refused is named first, as in
    «'max_tokens' is not supported, use 'max_completion_tokens'».
    """
    if not UNKNOWN.search(words) and not BOUNDS.search(words):
        return []
    sent = [name for name in (*FIELDS, *options.extra_body) if name not in options.omit_fields]
    named = [name for name in sent if _place(name, words) >= 0]
    lengths = [name for name in LENGTHS if _place(name, words) >= 0]
    both = options.api == "chat" and not set(LENGTHS) & set(options.omit_fields)
    if both and UNKNOWN.search(words):
        named += sorted(lengths, key=lambda name: _place(name, words))[:1]
    return named


def _place(name: str, words: str) -> int:
    found = re.search(rf"\b{re.escape(name)}\b", words)
    return found.start() if found else -1


def _wants_text(said: str, options: EndpointOptions) -> bool:
    if options.texts or not re.search(r"(?i)prompt|input|token.?ids?|\bstr\b", said):
        return False
    return bool(re.search(r"(?i)string|\bstr\b|\btext\b|list|array|target type|variant", said))
