"""What a server group asks of a cluster, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, Infeasible
from orchestrator.cluster.access import ClusterAccess
from orchestrator.cluster.launch import prepare_on_cluster
from orchestrator.cluster.multinode_args import multinode_args
from orchestrator.cluster.node_pool import NodePool
from orchestrator.cluster.resources import ResourceRequest, resource_request
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.ray_options import RayOptions, split_address
from orchestrator.host.nodes import Node, most_common_gpu, parse_node, summarise_nodes
from strategies import Technique, parse_layout


def node(name: str, gpus: int = 4, accelerator_type: str = "A100") -> Node:
    return Node(name, name, "10.0.0.1", gpus=gpus, accelerator_type=accelerator_type)


def setup(strategy: str, *, hardware: str = "A100-80GB", engine: str = "vllm") -> Setup:
    return Setup(
        engine=engine,
        model="OLMoE-1B-7B",
        layout=parse_layout(strategy),
        technique=Technique(),
        hardware=hardware,
        server_args=(),
        server_env=(),
        endpoint=None,
    )


FOUR = tuple(node(f"n{i}") for i in range(4))


@pytest.mark.parametrize(
    ("strategy", "gpus"),
    [
        ("single", (1,)),
        ("tp+ep", (4,)),
        ("dp8+ep", (4, 4)),
        ("tp2+dp3", (4, 2)),
        ("pp2+tp4", (4, 4)),
        ("pp4+tp2", (4, 4)),
        ("tp2+pp2+dp3", (4, 4, 4)),
    ],
)
def test_whole_replicas_lie_on_as_few_nodes_as_hold_them(
    strategy: str, gpus: tuple[int, ...]
) -> None:
    assert resource_request(setup(strategy), FOUR, RayOptions()).gpus_by_node == gpus


def test_nodes_that_offer_no_cpu_carry_nothing_and_that_is_said_before_anybody_waits() -> None:
    """`ray start --num-cpus=0`: Ray would never place an agent there."""
    idle = tuple(replace(each, cpus=0.0) for each in FOUR)
    with pytest.raises(Infeasible, match=r"4 of them without a CPU .*--num-cpus=1"):
        resource_request(setup("tp"), idle, RayOptions())
    one = (*idle, replace(node("n5"), cpus=1.0))
    assert resource_request(setup("tp"), one, RayOptions()).gpus_by_node == (2,)
    with pytest.raises(Infeasible, match=r"needs 4 \+ 4 A100-80GB .*4 of them without"):
        resource_request(setup("dp8+ep"), one, RayOptions())
    assert [n.name for n in NodePool(one, share=False).fitting(ResourceRequest((0,), ""))] == ["n5"]
    head = (replace(node("head", gpus=0), cpus=0.0),)
    with pytest.raises(Infeasible, match="no node has a CPU"):
        resource_request(setup("tp", engine="simulated"), head, RayOptions())


async def test_an_address_that_is_not_followed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    study = await prepare_on_cluster(Experiment(engine="simulated", launcher="ray"))
    assert "RAY_ADDRESS=10.0.0.1:6379 is not followed" in study.notice
    assert "--ray-address HOST:PORT" in study.notice


async def test_a_client_s_node_is_not_chosen_among_two_of_one_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def access(_: RayOptions) -> ClusterAccess:
        twins = (node("gpu", 4), replace(node("gpu", 4), node_id="2", address="10.0.0.2"))
        return ClusterAccess("10.0.0.1:6379", {}, twins)

    monkeypatch.setattr("orchestrator.cluster.launch.check_access", access)
    ray = RayOptions(address="10.0.0.1:6379", client_on="gpu")
    asked = Experiment(engine="simulated", launcher="ray", ray=ray)
    with pytest.raises(BadValue, match=r"2 are called that: 10.0.0.1, 10.0.0.2"):
        await prepare_on_cluster(asked)


def test_a_tensor_group_larger_than_a_node_is_split_only_when_asked() -> None:
    with pytest.raises(Infeasible, match="tp = 8 needs 8 GPUs on one node, a node has 4"):
        resource_request(setup("tp8"), FOUR, RayOptions())
    assert resource_request(setup("tp8"), FOUR, RayOptions(split_tp=True)).gpus_by_node == (4, 4)


def test_another_gpu_type_does_not_count_and_the_message_says_what_there_is() -> None:
    mixed = (*FOUR, node("h", gpus=8, accelerator_type="H100"))
    assert resource_request(setup("tp8", hardware="H100"), mixed, RayOptions()).gpus_by_node == (8,)
    with pytest.raises(Infeasible, match=r"needs 2 L40S|needs 2 H200") as raised:
        resource_request(setup("tp", hardware="H200"), mixed, RayOptions())
    assert "4 nodes of 4 A100, 1 node of 8 H100" in str(raised.value)


def test_simulated_servers_take_gpus_only_where_there_are_some() -> None:
    here = (node("laptop", gpus=0, accelerator_type=""),)
    assert resource_request(setup("tp", engine="simulated"), here, RayOptions()) == ResourceRequest(
        (0,), ""
    )
    assert resource_request(setup("tp", engine="simulated"), FOUR, RayOptions()).gpus_by_node == (
        2,
    )
    with pytest.raises(Infeasible):
        resource_request(setup("tp"), here, RayOptions())


@pytest.mark.parametrize(
    ("accelerator_type", "hardware", "provides"),
    [
        ("A100", "A100-80GB", True),
        ("A100", "A100-40GB", True),
        ("A100-40G", "A100-80GB", False),
        ("A100-80G", "A100-80GB", True),
        ("H100", "H200", False),
        ("H20", "H200", False),
        ("", "H200", True),
    ],
)
def test_rays_names_of_gpus_are_matched_with_the_catalogs(
    accelerator_type: str, hardware: str, provides: bool
) -> None:
    assert node("n", accelerator_type=accelerator_type).provides(hardware) is provides


def test_the_type_of_a_nodes_gpus_is_read_from_its_label_or_its_resource() -> None:
    labelled = parse_node("1", "a", "x", {"GPU": 4.0}, {"ray.io/accelerator-type": "H100"})
    named = parse_node("2", "b", "x", {"GPU": 8.0, "accelerator_type:A100": 1.0}, {})
    assert (labelled.accelerator_type, named.accelerator_type) == ("H100", "A100")
    assert most_common_gpu([labelled, named]) == "A100-80GB"
    assert most_common_gpu([]) == "CPU"
    assert summarise_nodes([]) == "no node"


@pytest.mark.parametrize("address", ["auto", "ray://host:10001", ":6379", "host:99999", "host"])
def test_only_a_plain_address_of_a_head_is_taken(address: str) -> None:
    with pytest.raises(BadValue, match="--ray-address"):
        split_address(address)


def test_parts_of_a_data_parallel_server_start_their_own_ranks() -> None:
    layout = parse_layout("tp2+dp3+ep")
    parts = [multinode_args(layout, (4, 2), i, head="10.0.0.1", port=21000) for i in (0, 1)]
    meeting = ("--data-parallel-address", "10.0.0.1", "--data-parallel-rpc-port", "21000")
    assert parts[0] == ("--data-parallel-size-local", "2", *meeting)
    assert parts[1] == ("--data-parallel-size-local", "1", *meeting, "--headless",
                        "--data-parallel-start-rank", "2")  # fmt: skip


def test_parts_of_one_replica_are_node_ranks() -> None:
    parts = [multinode_args(parse_layout("tp8"), (4, 4), i, head="h", port=1) for i in (0, 1)]
    assert parts[0] == ("--nnodes", "2", "--node-rank", "0", "--master-addr", "h",
                        "--master-port", "1")  # fmt: skip
    assert parts[1][-1] == "--headless"
    assert multinode_args(parse_layout("tp4"), (4,), 0, head="h", port=1) == ()


@given(
    tp=st.sampled_from([1, 2, 4]),
    dp=st.integers(1, 12),
    size=st.sampled_from([2, 4, 6, 8]),
)
def test_a_need_holds_every_gpu_of_the_layout_once_and_fits_the_nodes(
    tp: int, dp: int, size: int
) -> None:
    nodes = tuple(node(f"n{i}", gpus=size) for i in range(32))
    try:
        request = resource_request(setup(f"tp{tp}+dp{dp}"), nodes, RayOptions(split_tp=True))
    except Infeasible:
        assert tp > size
        return
    assert sum(request.gpus_by_node) == tp * dp
    assert max(request.gpus_by_node) <= size
