"""Which names hold secrets, by their words: of variables, flags, headers and fields."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = _words(
    "SECRET SECRETS PASSWORD PASSWORDS PASSWD PASSPHRASE CREDENTIAL CREDENTIALS CREDS JWT PAT "
    "COOKIE COOKIES AUTHORIZATION BEARER APIKEY APIKEYS HTPASSWD NETRC DSN"
)
_GLUED = re.compile(
    r".+(?:PASSWORD|PASSWD|PASSPHRASE|SECRET)"
    r"|(?:API|ACCESS|SECRET|PRIVATE|SIGNING)(?:KEY|TOKEN)S?"
    r"|(?:AUTH|BEARER|SESSION)TOKEN"
    r"|(?!BY|COM|ENCOM|TRES|SUR|OVER|UNDER).{2,}PASS"
)
_KEY_OF = _words(
    "API ACCESS SECRET PRIVATE SIGNING ENCRYPTION SSH MASTER AUTH SHARED SERVICE DEPLOY LICENSE"
)
_HARMLESS_KEY = _words("CACHE SORT PRIMARY PUBLIC PARTITION FOREIGN ROUTING GROUP HASH")
_TOKENS_OF = _words("API ACCESS REFRESH AUTH BEARER SESSION SECRET HF HUB GITHUB GITLAB")
_HARMLESS_BEFORE = _words(
    "MAX MIN NUM EOS BOS PAD UNK SEP CLS STOP PER NEXT LAST FIRST SPECIAL DRAFT IMAGE PREFILL "
    "DECODE FORWARD BACKWARD SINGLE ONE TWO MULTI COMPILE FUSION AVG MEAN INPUT OUTPUT PROMPT"
)
_HARMLESS_AFTER = _words(
    "LEN LENGTH LIMIT LIMITS COUNT COUNTS BUDGET SIZE ID IDS TYPE TYPES RATE PARALLELISM HINT "
    "BATCH POOL THRESHOLD WEIGHT WINDOW STRATEGY INDEX TIME LATENCY CAPACITY PARALLEL INTERVAL "
    "STEP STEPS LEVEL DROP DISPATCHER PER RATIO BUCKETS BYTES MS S MAP NUM MAX MIN SOCK MODE "
    "METHOD SCHEME ENABLED DISABLED PROVIDER TIMEOUT REQUIRED PLUGIN THROUGH MANAGER CONFIG "
    "LOGPROB LOGPROBS URL STRING TEXT EMBEDDING EMBEDDINGS USAGE"
)
_PLACES = _words("FILE FILES PATH DIR FOLDER SOCK")


def is_secret_name(name: str) -> bool:
    """Tell whether what is named so holds a secret.

    `PGPASSWORD`, `--api_key`, `X-Auth-Token`, `aws.secretKey` do; `MAX_TOKEN_LEN`, `cache_key` and
    what names a file or a folder do not.
    """
    words = [word.upper() for word in _WORD.findall(name) if not word.isdigit()]
    if not words or words[-1] in _PLACES:
        return False
    return any(_secret_word(words, at) for at in range(len(words)))


def _secret_word(words: list[str], at: int) -> bool:
    word, last = words[at], at == len(words) - 1
    before = words[at - 1] if at else ""
    after = "" if last else words[at + 1]
    if word in ("KEY", "KEYS"):
        return before in _KEY_OF or (last and bool(before) and before not in _HARMLESS_KEY)
    if word in ("TOKEN", "AUTH", "PASS"):
        return before not in _HARMLESS_BEFORE and after not in _HARMLESS_AFTER
    if word == "PWD":
        return bool(before)  # PWD alone is the working directory
    if word == "TOKENS":
        return before in _TOKENS_OF
    return word in _ALWAYS or _GLUED.fullmatch(word) is not None
