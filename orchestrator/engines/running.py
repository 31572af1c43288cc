"""A server that already runs: what it says it serves, and the key it wants."""

import os
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadFile
from orchestrator.engines.control import Control
from orchestrator.experiment import Experiment
from workloads.target import Target

API_KEY_VARIABLE = "MOESERVE_API_KEY"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a running server says it serves."""

    base_url: str
    served_name: str


def api_key(experiment: Experiment) -> str:
    """Read the key from the file named in the experiment, else from the environment."""
    if experiment.api_key_file is None:
        return os.environ.get(API_KEY_VARIABLE, "")
    try:
        return Path(experiment.api_key_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(experiment.api_key_file, f"cannot be read: {error}") from error


async def inspect(experiment: Experiment) -> Endpoint:
    """Ask a running server what it serves, before anything else is done."""
    url = experiment.endpoint
    assert url is not None
    Target(base_url=url, model="")  # refuses what is no URL
    async with Control(url, api_key=api_key(experiment)) as control:
        listed = [str(entry.get("id")) for entry in await control.models()]
    return Endpoint(url, listed[0])
