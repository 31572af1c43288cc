"""The manifests for KubeRay: what its schema takes, and what a study needs of its pods."""

import shlex
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.experiment.ray_options import split_address

jsonschema = pytest.importorskip("jsonschema", reason="comes with Ray: pip install 'moeserve[ray]'")

EXAMPLES = Path(__file__).parents[3] / "examples" / "kuberay"
SCHEMA = yaml.safe_load(Path(__file__).with_name("kuberay_schema.yaml").read_text())
FILES = ("raycluster.yaml", "rayjob.yaml")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def cluster_of(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = documents(name)[-1]["spec"]
    cluster: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return cluster


def faults(document: dict[str, Any]) -> list[str]:
    """What KubeRay's schema has against a document of this kind."""
    kind = {"$ref": f"#/$defs/{document['kind']}", "$defs": SCHEMA["$defs"]}
    return [e.message for e in jsonschema.Draft202012Validator(kind).iter_errors(document)]


@pytest.mark.parametrize("name", FILES)
def test_every_manifest_is_what_kuberay_takes(name: str) -> None:
    for document in documents(name):
        assert faults(document) == []


def slips(spec: dict[str, Any]) -> Iterator[str]:
    worker = spec["workerGroupSpecs"][0]
    worker["rayStartParams"]["num-gpus"] = 4  # a number: Kubernetes wants text
    yield "4 is not of type 'string'"
    worker["rayStartParams"]["num-gpus"] = "4"
    worker["replica"] = worker.pop("replicas")
    yield "'replica' was unexpected"
    worker["replicas"] = worker.pop("replica")
    del worker["minReplicas"]
    yield "'minReplicas' is a required property"


def test_a_slip_in_a_manifest_is_found() -> None:
    document = deepcopy(documents("raycluster.yaml")[-1])
    for told in slips(document["spec"]):
        assert told in " ".join(faults(document))


@pytest.mark.parametrize("name", FILES)
def test_a_worker_offers_the_gpus_that_it_has_asks_for_a_token_and_has_shared_memory(
    name: str,
) -> None:
    spec = cluster_of(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert tuple(map(int, spec["rayVersion"].split(".")[:2])) >= (2, 52)
    head, (worker,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"]["num-gpus"] == "0"
    (container,) = worker["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    offered = worker["rayStartParams"]["num-gpus"]
    assert offered == container["resources"]["limits"]["nvidia.com/gpu"]
    assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
    (first,) = head["template"]["spec"]["containers"]
    assert container["image"] == first["image"], "one Python and one Ray everywhere"
    for pod in (head["template"]["spec"], worker["template"]["spec"]):
        made = {volume["name"] for volume in pod["volumes"]}
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == made


def test_the_job_runs_a_study_on_its_own_head_and_leaves_results_on_the_disk() -> None:
    job = documents("rayjob.yaml")[-1]["spec"]
    words = shlex.split(job["entrypoint"])
    assert words[:4] == ["moeserve", "run", "--launcher", "ray"]
    assert split_address(words[words.index("--ray-address") + 1]) == ("127.0.0.1", 6379)
    (container,) = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert words[words.index("-o") + 1].startswith(mount["mountPath"] + "/")
    assert job["shutdownAfterJobFinishes"]
    assert cluster_of("rayjob.yaml") == cluster_of("raycluster.yaml")
