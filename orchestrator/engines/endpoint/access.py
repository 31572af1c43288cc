"""How a server that already runs is reached: its URL, the key it wants, headers, certificates."""

import ipaddress
import math
import os
from pathlib import Path

from catalog.errors import BadValue
from catalog.named_file import LARGEST_SECRET_BYTES, text_named
from catalog.secrets import hide
from orchestrator.experiment.experiment import Experiment
from orchestrator.measure.control import Control
from workloads.transport.target import EndpointKind, Target

API_KEY_VARIABLE = "MOESERVE_API_KEY"
IDLE_TIMEOUT_S = 600.0


def api_key(experiment: Experiment) -> str:
    """Read the key from the file named in the experiment, else from the environment."""
    if experiment.api_key_file is None:
        return os.environ.get(API_KEY_VARIABLE, "")
    key = text_named(Path(experiment.api_key_file), "key", most_bytes=LARGEST_SECRET_BYTES).strip()
    hide(key)
    return key


def target_of(experiment: Experiment, model: str) -> Target:
    """Return where and how requests for a model go; BadValue for what is no URL."""
    url, options = experiment.endpoint, experiment.endpoint_options
    assert url is not None
    kind: EndpointKind = "chat" if options.api == "chat" else "completions"
    target = Target(
        base_url=url,
        model=model,
        api_key=api_key(experiment),
        endpoint=kind,
        extra_body=options.extra_body,
        omit_fields=options.omit_fields,
        headers=options.header_values(),
        ca_file=options.ca_file,
        insecure=options.insecure,
        idle_timeout_s=options.stall_timeout_s or IDLE_TIMEOUT_S,
        request_timeout_s=options.request_timeout_s or math.inf,
    )
    named = target.api_named
    if named not in (None, kind):
        allowed = f"the server's address, or this one with --api {named}"
        raise BadValue("--endpoint", f"the address of its {named} API", allowed)
    return target


def control_of(target: Target) -> Control:
    return Control(target.base_url, api_key=target.api_key, reached=target)


def plain_key(experiment: Experiment) -> str:
    """Say that a key goes where anybody on the way can read it; "" where none does."""
    url = experiment.endpoint or ""
    if not url.startswith("http://"):
        return ""
    target = target_of(experiment, "")
    if "authorization" not in {name.lower() for name in target.all_headers}:
        return ""
    host = target.address[0]
    if host == "localhost" or _is_loopback(host):
        return ""
    return f"the key goes to {host} over plain http: whoever is on the way can read it; use https"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
