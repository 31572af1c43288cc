"""Where a running server's counters are, whether they are one server's, and what they lack."""

from itertools import pairwise

from orchestrator.measure.control import SIDE_LIMIT_S, Control
from workloads.figures.server_metrics import Scrape, parse_metrics, window

LOOKS = 8
"""Readings in a row: behind a balancer some come from one server and some from another."""
OTHER_PLACE = "/prometheus/metrics"
"""TensorRT-LLM's: its /metrics is JSON."""
CHECKS = {
    "its token counts and the traffic of others": "vllm:generation_tokens_total",
    "requests of others": "vllm:request_success_total",
    "its prefix cache": "vllm:prefix_cache_hits_total",
    "requests inside it (Little's law, stalls)": "vllm:num_requests_running",
}
WAY_OUT = "--metrics-url names where one server's are, or none"


async def find_metrics(control: Control, wanted: str | None, *, several: bool) -> tuple[str, ...]:
    """Set where the server's counters are read, if anywhere; return what is to be told of it.

    `wanted` is an address or `none`; `several` says that the name stands for several servers.
    """
    if wanted == "none":
        return _blind(control, "its metrics are not to be read")
    if wanted is not None:
        control.metrics_url = wanted
    elif several:
        return _blind(control, f"its name stands for several servers ({WAY_OUT})")
    scrape, trouble = await _found(control, may_look_elsewhere=wanted is None)
    if trouble:
        return _blind(control, f"its counters cannot be read ({trouble})")
    missing = [what for what, name in CHECKS.items() if scrape.total(name) is None]
    if len(missing) == len(CHECKS):
        return _blind(control, "its metrics have names that are not known")
    if await are_several(control):
        return shared(control)
    return (unseen("its metrics lack some", missing),) if missing else ()


def shared(control: Control) -> tuple[str, ...]:
    """Read them no more: they are several servers'."""
    why = f"several servers answer at {control.metrics_url} in turn ({WAY_OUT})"
    return (f"METRICS_SHARED: {why}", *_blind(control, why))


async def are_several(control: Control) -> bool:
    """Tell whether readings in a row come from several servers: their counters go to and fro."""
    texts = [await control.metrics(limit_s=SIDE_LIMIT_S, fresh=True) for _ in range(LOOKS)]
    return to_and_fro([parse_metrics(text) for text in texts if text])


def to_and_fro(scrapes: list[Scrape]) -> bool:
    """Tell whether a counter went back within moments, or the process began at another time.

    A server that starts again needs longer than a few readings in a row.
    """
    return any(
        window(before, after).restarted or before.started != after.started
        for before, after in pairwise(scrapes)
    )


def unseen(why: str, what: list[str]) -> str:
    return f"SERVER_UNSEEN: {why}; not checked: {', '.join(what)}"


def _blind(control: Control, why: str) -> tuple[str, ...]:
    control.metrics_url = None
    return (unseen(why, list(CHECKS)),)


async def _found(control: Control, *, may_look_elsewhere: bool) -> tuple[Scrape, str]:
    """Return what is counted, or why nothing could be read at the first place."""
    places, troubles = [control.metrics_url], []
    if may_look_elsewhere:
        places.append(control.url(OTHER_PLACE))
    for place in places:
        control.metrics_url = place
        text = await control.metrics(limit_s=SIDE_LIMIT_S)
        scrape = parse_metrics(text) if text else Scrape()
        if scrape.values:
            return scrape, ""
        troubles.append(control.metrics_trouble or f"{place}: there are none")
    control.metrics_url = places[0]
    return Scrape(), troubles[0]
