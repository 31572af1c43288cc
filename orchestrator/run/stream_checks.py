"""What a run's answers prove by themselves, whatever the server shows of its counters."""

from collections import Counter
from collections.abc import Iterator

from catalog.units import MS_PER_S
from orchestrator.run.evidence import Evidence
from workloads.transcript import RequestRow

MOST_CLUMPED, SOME_CLUMPED = 0.5, 0.2
"""Shares of the events with tokens that came together with others."""
IDLE = 0.5
"""A client that is busy for a larger share of the time may have read late itself."""
SHORTEST_HOLD_S = 0.015
"""Between two reads: what holds events for less hides in what any loaded machine does."""
LATE = 2.0
"""Times the client's own lateness, at its 99th percentile, that the reads must be apart."""
FEWEST_EVENTS = 64
"""Fewer may come together by chance."""
MOST_CACHED = 0.01
MORE_TOKENS = 8
"""A server may put so many before a prompt: a beginning-of-text token, a short template."""
LEAST_TEXT = 0.75
"""Of the tokens asked for, that the server must have read of texts."""
TEXT_SLACK, TEXT_TOKENS = 0.10, 8
"""How far a prompt of text may be from its length before that is told."""
CODES = {
    "NO_DONE": "did not end with [DONE]",
    "NO_FINISH_REASON": "gave no finish_reason",
    "USAGE_MISSING": "came without usage: their tokens are those of their events",
    "LEFT_OPEN": "were left open behind [DONE]: their connections were dropped",
    "FIRST_TOKEN_UNCERTAIN": "began with an event without text that may be the first token",
}


def clumped(evidence: Evidence) -> Iterator[str]:
    """Several events in one read while the client idles were held back on their way."""
    done = _done(evidence)
    events = sum(row.token_events for row in done)
    together = sum(row.clumped_events for row in done)
    if events < FEWEST_EVENTS or together <= SOME_CLUMPED * events:
        return
    busy = evidence.figures.get("client_busy_share") or 0.0
    late_s = (evidence.figures.get("client_p99_loop_lag_ms") or 0.0) / MS_PER_S
    if busy > IDLE or _held_s(done) < max(SHORTEST_HOLD_S, LATE * late_s):
        return
    code = "CLUMPED" if together > MOST_CLUMPED * events else "SOME_CLUMPED"
    yield (
        f"{code}: {together / events:.0%} of the events with tokens came in one read with others "
        f"while the client was idle for {1 - busy:.0%} of the time: something on the way holds "
        "them back, and TTFT and ITL are its own; in nginx set proxy_buffering off and a small "
        "ssl_buffer_size, or measure the server itself (one that makes several tokens at once, as "
        "by speculation, should send them in one event)"
    )


def _held_s(done: list[RequestRow]) -> float:
    """Return the mean time between two reads with tokens; of one read, that until it came."""
    spans_s, waits = 0.0, 0
    for row in done:
        if not len(row.token_times_s):
            continue
        last_s = float(row.token_times_s[-1])
        first_s = float(row.token_times_s[0]) if row.token_reads > 1 else row.sent_s or 0.0
        spans_s += last_s - first_s
        waits += max(1, row.token_reads - 1)
    return spans_s / waits if waits else 0.0


def cached(evidence: Evidence) -> Iterator[str]:
    """Prompt tokens that the server itself says it had in its cache."""
    told = [row for row in _done(evidence) if row.cached_tokens is not None]
    if evidence.figures.get("server_prefix_cache_hits"):
        return  # its counters say it, and are judged
    template = float(evidence.figures.get("template_tokens") or 0.0)
    hits = sum(max(0.0, (row.cached_tokens or 0) - template) for row in told)
    read = sum(row.server_input_tokens or 0 for row in told)
    stated = evidence.figures.get("prefix_shareable_share")
    if stated is None and evidence.cell.workload.has_prompts:
        return
    if read and hits > (float(stated or 0.0) + MOST_CACHED) * read:
        yield (
            f"CACHE_WARM: {hits / read:.0%} of the prompt tokens came from the server's cache, as "
            "its usage says; start it without a prefix cache"
        )


def prompts(evidence: Evidence) -> Iterator[str]:
    """The server read what it was sent, or what is about as long as was asked for."""
    done = _done(evidence)
    counted = [row for row in done if row.server_input_tokens is not None]
    read = [row.server_input_tokens or 0 for row in counted]
    asked = read or (done and "served_model" in evidence.figures)
    if asked and not any(read):
        known = all(row.input_tokens for row in done)
        yield (
            f"PROMPT_UNKNOWN: the server counts {'0' if read else 'no'} prompt tokens; input "
            f"figures are {'of what was sent' if known else 'left out'}"
        )
    elif any(row.input_tokens != row.server_input_tokens for row in counted):
        yield from _other_ids(evidence, counted)
    elif evidence.cell.workload.has_prompts:
        yield from _other_text(counted)
    elif evidence.cell.setup.request_form:
        yield from _other_length(evidence, read)


def _other_text(counted: list[RequestRow]) -> Iterator[str]:
    """A file's text has the tokens that the server itself told of it before the run."""
    told = [row for row in counted if row.input_len is not None]
    wrong = [row for row in told if row.input_len != row.server_input_tokens]
    if wrong:
        first = wrong[0]
        yield (
            f"INPUT_MISMATCH: of {len(told)} texts the server reads {len(wrong)} otherwise "
            f"({first.server_input_tokens} tokens where its /tokenize counts {first.input_len})"
        )


def _other_ids(evidence: Evidence, counted: list[RequestRow]) -> Iterator[str]:
    """Token ids are exact: the same few more are what a server begins with; all else is another."""
    more = [(row.server_input_tokens or 0) - (row.input_tokens or 0) for row in counted]
    if len(set(more)) == 1 and 0 < more[0] <= MORE_TOKENS:
        added = f"{more[0]} token" + ("s" if more[0] > 1 else "")
        yield f"PROMPT_LONGER: the server puts {added} of its own before each prompt"
        return
    wrong = [row for row, extra in zip(counted, more, strict=True) if extra]
    sent, seen = wrong[0].input_tokens, wrong[0].server_input_tokens
    cut = (seen or 0) < (sent or 0)
    cause = "it cuts prompts" if cut else "it reads ids as something else: --prompt text"
    yield (
        f"INPUT_MISMATCH: of {len(evidence.rows)} prompts the server counts {len(wrong)} "
        f"otherwise ({seen} tokens where {sent} were sent); {cause}"
    )


def _other_length(evidence: Evidence, read: list[int]) -> Iterator[str]:
    """Text is of about the length asked for; much less of it was cut."""
    asked = evidence.cell.workload.known_input_len
    if asked is None:
        return
    mean = sum(read) / len(read) if read else asked
    told = f"prompts of text have {mean:.0f} tokens to the server, {asked} were asked for"
    if mean < LEAST_TEXT * asked:
        yield f"INPUT_MISMATCH: {told}; it cuts them"
    elif abs(mean - asked) > max(TEXT_SLACK * asked, TEXT_TOKENS):
        yield f"PROMPT_LONGER: {told}" if mean > asked else f"PROMPT_SHORTER: {told}"


def lengths(evidence: Evidence) -> Iterator[str]:
    """Every answer has just the tokens asked for; where ends are the server's own, that is told.

    One that was to end naturally has no more than it was allowed.
    """
    usual = evidence.cell.workload.output_len
    done = _done(evidence)
    wrong = [row for row in done if not _as_asked(row, usual)]
    if not done:
        yield "ZERO_TOKENS: no request completed"
    elif wrong:
        reasons = ", ".join(sorted({row.finish_reason or "none" for row in wrong}))
        asked = {usual if row.output_len is None else row.output_len for row in wrong}
        number = f"{min(asked)}" if len(asked) == 1 else f"{min(asked)} to {max(asked)}"
        told = f"{len(wrong)} of {len(done)} answers do not have the {number} tokens asked for"
        if _ends_itself(evidence):
            yield f"LENGTHS_OWN: {told} (finish_reason {reasons}); they were left to the server"
        else:
            yield (
                f"LENGTH_MISMATCH: {told} (finish_reason {reasons}); the server must honour "
                "ignore_eos and max_tokens"
            )


def _as_asked(row: RequestRow, usual: int) -> bool:
    asked = usual if row.output_len is None else row.output_len
    return row.output_tokens <= asked if row.natural else row.output_tokens == asked


def _ends_itself(evidence: Evidence) -> bool:
    """Whether the fields that keep a server from ending early were left out as asked."""
    omitted = evidence.cell.setup.request_form.partition("without ")[2].split()
    return {"ignore_eos", "min_tokens"} <= set(omitted)


def names(evidence: Evidence) -> Iterator[str]:
    """All answers are one model's, and that is the one asked for."""
    asked = evidence.figures.get("served_model")
    told = Counter(row.answered_by for row in _done(evidence) if row.answered_by)
    if asked is None or not told:
        return
    if len(told) > 1:
        found = ", ".join(f"{name} {count} times" for name, count in told.most_common(4))
        yield f"SEVERAL_MODELS: the answers name {found}; they are no one model's"
    elif asked not in told:
        yield f"ANSWERED_AS: {asked} was asked for, the answers name {next(iter(told))}"


def oddities(evidence: Evidence) -> Iterator[str]:
    """What was odd of answers that count all the same."""
    done = _done(evidence)
    found = Counter(code for row in done for code in row.notes.split(";") if code)
    for code, count in sorted(found.items()):
        yield f"{code}: {count} of {len(done)} answers {CODES.get(code, 'are odd')}"


def _done(evidence: Evidence) -> list[RequestRow]:
    return [row for row in evidence.rows if row.status == "ok"]
