"""A real server measured by its address over each API: what every one of them must give."""

from pathlib import Path
from typing import Any

from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from tests.machine import against

INPUT, OUTPUT, PROMPTS = 128, 16, 6
ASKED = {
    "ids": EndpointOptions(),
    "text": EndpointOptions(prompt="text"),
    "chat": EndpointOptions(api="chat"),
}


async def measured(url: str, root: Path) -> dict[str, dict[str, Any]]:
    """Return a row for each way of asking."""
    rows = {}
    for name, options in ASKED.items():
        asked = Experiment(
            endpoint=url,
            endpoint_options=options,
            workloads=(f"{INPUT}:{OUTPUT}:{PROMPTS}",),
            concurrency="2",
        )
        await run_study(await prepare(asked), root / name, listen=lambda _: None)
        (rows[name],) = run_rows(root / name)
    return rows


def check(rows: dict[str, dict[str, Any]]) -> None:
    """The same tokens by each API, counted alike by client and server, and nothing said of them."""
    for name, row in rows.items():
        assert row["completed"] == PROMPTS, row["error"]
        assert against(row) <= {"NOT_STEADY"}, (name, row["verdict_reasons"])
        assert row["total_output_tokens"] == PROMPTS * OUTPUT
        assert row["server_generation_tokens"] == PROMPTS * OUTPUT
        assert 0.9 * INPUT <= row["total_input_tokens"] / PROMPTS <= 1.1 * INPUT
    assert rows["ids"]["total_input_tokens"] == PROMPTS * INPUT
