"""Two witnesses of a running server, what it chose by itself, and who else may ask it."""

import asyncio
import json
from typing import Any

import pytest

from orchestrator.engines.vllm.account import Account, cache_tokens
from orchestrator.engines.vllm.choices import choices_told
from orchestrator.engines.vllm.dev_guard import DevGuard
from orchestrator.engines.vllm.readback import observed
from orchestrator.engines.vllm.server_info import DEV_MODE, GUARD, Configured, asking, parse
from orchestrator.measure.choices import choice_figures
from strategies import ALL, parse_layout
from strategies.layout import Layout
from tests import server_logs

INFO = json.loads((server_logs.ROOT / "server_info.json").read_text())
REAL = (server_logs.ROOT / "ok/real_0320_dp2_ep.log").read_text()


def info(**parallel: Any) -> Configured:
    config = INFO["vllm_config"]
    made = {
        **INFO,
        "vllm_config": config | {"parallel_config": config["parallel_config"] | parallel},
    }
    found = parse(json.dumps(made).encode())
    assert found is not None
    return found


def account(log: str = REAL, said: Configured | None = None, metrics: str = "") -> Account:
    return Account(observed(log), said, {}, cache_tokens(metrics))


def test_a_real_servers_answer_is_its_layout_and_what_it_settled_on() -> None:
    said = info()
    assert said.layout == parse_layout("ep")
    assert said.choices == {
        "max_num_batched_tokens": "2048", "max_num_seqs": "128", "chunked_prefill": "on",
        "async_scheduling": "off", "prefix_caching": "off", "kv_cache_dtype": "auto",
        "quantization": "none", "dtype": "float32", "cuda_graphs": "none",
        "speculative": "none", "custom_all_reduce": "off",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parallel", "layout"),
    [
        ({"is_moe_model": False}, "dp2"),
        ({"data_parallel_size": 1}, "single"),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, "pp2+tp4+dp2+ep"),
        ({"prefill_context_parallel_size": 2}, None),
        ({"tensor_parallel_size": "2"}, None),
    ],
)
def test_its_layout_is_what_it_can_be(parallel: dict[str, Any], layout: str | None) -> None:
    found = info(**parallel).layout
    assert (found.name if found else None) == layout


@pytest.mark.parametrize("reply", [b"", b"[]", b"{}", b'{"vllm_config": "tp=2"}', b"\xff"])
def test_an_answer_that_is_no_configuration_is_no_witness(reply: bytes) -> None:
    assert parse(reply) is None


def test_witnesses_that_agree_are_believed_and_others_are_named() -> None:
    ep, tp = parse_layout("ep"), parse_layout("tp")
    assert account(said=info()).difference(ep) is None
    assert account().difference(parse_layout("ep[eplb=2]")) is None
    assert account(said=info()).difference(tp) == "asked for tp, the server runs ep"
    told = account(said=info(data_parallel_size=4)).difference(ep)
    assert told == "its configuration says dp4+ep, its ranks say ep"
    assert "does not say" in (account("INFO nothing").difference(ep) or "")


@pytest.mark.parametrize("asked", [name for name in ALL if name != "ep"])
def test_any_other_layout_is_a_difference_that_names_both(asked: str) -> None:
    assert account().difference(parse_layout(asked)) == f"asked for {asked}, the server runs ep"


def test_a_capacity_that_the_metrics_contradict_is_not_known() -> None:
    metric = 'vllm:cache_config_info{{engine="{}",kv_cache_size_tokens="{}"}} 1.0\n'
    agreeing = metric.format(0, 524288) + metric.format(1, 524288)
    assert account(metrics=agreeing).kv_tokens_capacity == 1_048_576
    assert account(metrics=metric.format(0, 999)).kv_tokens_capacity is None
    assert account(metrics="other 1").kv_tokens_capacity == 1_048_576


@pytest.mark.parametrize("row", server_logs.table("ok"), ids=lambda row: row["file"])
def test_the_kernels_that_were_chosen_are_read_from_the_log(row: dict[str, str]) -> None:
    told = choices_told(server_logs.text(row))
    assert told.get("moe_backend", "") == row["moe_backend"]
    assert told.get("attention_backend", "") == row["attention_backend"]


def test_what_a_log_does_not_tell_of_choices_is_left_out() -> None:
    assert choices_told("INFO nothing") == {}
    tuned = "Using configuration from /x/E=64,N=1024.json for MoE layer."
    default = "Using default MoE config. Performance might be sub-optimal!"
    assert choices_told(tuned)["moe_config"] == "tuned"
    assert choices_told(f"{tuned}\n{default}")["moe_config"] == "default"


def test_only_columns_that_are_known_come_of_what_a_server_says() -> None:
    said = {"moe_backend": "TRITON\x1b", "output_throughput": "9", "launch_env": "", "dtype": None}
    assert choice_figures({"chosen": said}) == {"moe_backend": "TRITON "}
    assert choice_figures({"chosen": "text"}) == {}


def test_a_server_says_its_configuration_on_loopback_alone() -> None:
    assert asking("127.0.0.1", own=True) == (GUARD, {DEV_MODE: "1"}, "")
    for host in ("10.0.0.1", "0.0.0.0", "::", "node-a"):
        words, variables, why = asking(host, own=True)
        assert (words, variables) == ((), {DEV_MODE: "0"})
        assert host in why
    assert asking("::1", own=False)[:2] == ((), {})


def answered(path: str, method: str = "GET", kind: str = "http") -> int:
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> None:
        return None

    scope = {"type": kind, "path": path, "method": method}
    asyncio.run(DevGuard(app)(scope, receive, send))
    return int(sent[0].get("status", 403))


def test_the_development_modes_other_doors_stay_shut() -> None:
    for path in (
        "/v1/completions",
        "/v1/models",
        "/health",
        "/tokenize",
        "/metrics",
        "/metrics/",
        "/server_info",
    ):
        assert answered(path) == 200
    for path in (
        "/collective_rpc", "/sleep", "/wake_up", "/reset_prefix_cache", "/v1/../sleep", "/",
        "/v1x/y", "//sleep", "/pause", "/init_weight_transfer_engine",
    ):  # fmt: skip
        assert answered(path, "POST") == 404
    assert answered("/server_info", "POST") == 404
    assert answered("/ws", kind="websocket") == 403


def test_a_layout_of_one_is_named_as_such() -> None:
    assert info(data_parallel_size=1, enable_expert_parallel=True).layout == Layout()
