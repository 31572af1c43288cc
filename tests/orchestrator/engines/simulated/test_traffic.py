"""Production's traffic in virtual time: lengths, prefixes, turns and traces, by hand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.engines.simulated.engine import serve, simulated_server
from orchestrator.estimate import estimates, plan_of
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.traffic import unwritten
from orchestrator.plan import make_plan
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from perfmodel.serving import ServerSettings
from perfmodel.simulate import Simulated


def asked(
    workload: str, strategy: str = "tp", args: tuple[str, ...] = (), **load: Any
) -> Experiment:
    return Experiment(
        models=("OLMoE-1B-7B",),
        engine="simulated",
        hardware="H100",
        strategies=(strategy,),
        workloads=(workload,),
        server=ServerOptions(args=args),
        **load,
    )


def served(experiment: Experiment) -> tuple[Simulated, Any]:
    plan = make_plan(experiment, "simulated")
    (group,) = plan.groups
    (run,) = group.runs
    return serve(run, simulated_server(group, plan.models[group.setup.model])), unwritten(run)


def hits(workload: str, strategy: str = "tp", *args: str) -> tuple[int, int]:
    found, _ = served(asked(workload, strategy, args, concurrency="1"))
    return found.prefix_hits, found.prefix_queries


def test_each_replica_computes_every_prefix_once() -> None:
    """Four prefixes of 160 tokens, ten whole blocks, before 40 prompts of 20 tokens."""
    workload = "20:8:40,prefix=160x4"
    assert hits(workload) == ((40 - 4) * 160, 40 * 180)
    ((two, asked_of_two), (eight, _)) = hits(workload, "ep"), hits(workload, "dp8+ep")
    # Prompts go to the replicas in turn; which prefix comes when was drawn.
    assert asked_of_two == 40 * 180
    assert two == (40 - 2 * 4) * 160
    assert 0 < eight < two


def test_the_cache_holds_whole_blocks_of_the_size_asked_for() -> None:
    assert hits("20:8:40,prefix=170x4") == ((40 - 4) * 160, 40 * 190)
    assert hits("20:8:40,prefix=170x4", "tp", "--block-size=64") == ((40 - 4) * 128, 40 * 190)


def test_prefixes_are_kept_only_where_some_are_shared_and_nobody_says_otherwise() -> None:
    assert hits("180:8:40") == (0, 0)
    assert hits("20:8:40,prefix=160x4", "tp", "--no-enable-prefix-caching") == (0, 0)


def test_a_turn_finds_the_earlier_prompts_but_not_the_answers() -> None:
    """As over HTTP: drawn tokens stand for what was answered, so no answer comes again.

    Prompts of 32, 96, 160 tokens: each 32 new ones behind 32 drawn in the place of an answer.
    """
    found, traffic = served(asked("32:32:3,turns=3", concurrency="1"))
    assert traffic.requests.input_lens.tolist() == [32, 96, 160]
    assert found.cached_tokens == (0, 32, 96)


def test_a_turn_is_due_after_the_turn_before_it_and_the_time_to_think() -> None:
    found, traffic = served(asked("32:32:12,turns=3,think=2", concurrency="4"))
    for request in np.flatnonzero(traffic.requests.turn > 0):
        assert found.due_s[request] == pytest.approx(found.done_s[request - 1] + 2.0)


def test_every_answer_has_the_tokens_drawn_for_it_and_a_second_run_the_same_times() -> None:
    experiment = asked("100-900:50-400:30", concurrency="8")
    first, traffic = served(experiment)
    second, _ = served(experiment)
    lengths = traffic.requests.output_lens.tolist()
    assert [len(times) for times in first.token_times_s] == lengths
    assert len(set(lengths)) > 10
    assert all(map(np.array_equal, first.token_times_s, second.token_times_s))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Three requests in Mooncake's form: the second shares one block of 512, the third both."""
    rows = [
        (0, 1000, 4, [1, 2]),
        (500, 1100, 5, [1, 3, 4]),
        (2500, 1024, 6, [1, 2]),
    ]
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


def test_a_trace_is_replayed_when_it_came_and_shares_what_its_hashes_say(trace: Path) -> None:
    found, traffic = served(asked(f"trace:{trace}", request_rates=(1.2,)))
    gaps = np.diff(found.due_s)
    assert gaps[1] / gaps[0] == pytest.approx(4.0)
    assert traffic.requests.input_lens.tolist() == [1000, 1100, 1024]
    # 1000 tokens fill 62 blocks of 16; of 1024 the last block holds the last token.
    assert found.cached_tokens == (0, 512, 992)


async def run(experiment: Experiment, root: Path) -> None:
    await run_study(await prepare(experiment), root, listen=lambda _: None)


def test_a_run_records_hits_lengths_and_turns_and_an_estimate_says_the_same(
    tmp_path: Path,
) -> None:
    experiment = asked("20-60:8:40,prefix=160x4,turns=2", "ep", concurrency="4")
    asyncio.run(run(experiment, tmp_path))
    (row,) = run_rows(tmp_path)
    assert row["verdict"] == "valid", row["verdict_reasons"]
    assert 0 < row["prefix_hit_share"] <= row["prefix_shareable_share"]
    (estimate,) = estimates(plan_of(experiment), ServerSettings())
    for name in ("output_throughput", "mean_ttft_ms", "server_prefix_cache_hits"):
        assert estimate[name] == pytest.approx(row[name]), name
    assert estimate["prefix_caching"] == "on"
