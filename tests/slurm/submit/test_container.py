"""Images of a site profile: what is refused before a job waits for nothing, and what is not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from catalog.errors import BadFile, BadValue, InputError, UnknownName
from moeserve.cli.slurm_flags import parse_container
from orchestrator.engines.registry import engine_kind
from slurm.submit.arrays import program
from slurm.submit.container import Container, check_container
from slurm.submit.options import SubmitOptions, merge_options

VLLM, DECODER = engine_kind("vllm"), engine_kind("transformers")


def box(kind: str, image: str, **more: Any) -> Container:
    options = merge_options({"container": {"kind": kind, "image": image, **more}})
    assert options.container is not None
    return options.container


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("pyxis", "nvcr.io#nvidia/vllm:26.01"),
        ("apptainer", "docker://vllm/vllm-openai:v0.32.0"),
        ("podman", "docker.io/vllm/vllm-openai:v0.32.0"),
    ],
)
def test_an_image_by_name_is_the_registry_s_to_know(kind: str, image: str) -> None:
    check_container(box(kind, image), VLLM)


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("pyxis", "{}/no.sqsh"),
        ("apptainer", "{}/no.sif"),
        ("podman", "docker-archive:{}/no.tar"),
    ],
)
def test_an_image_by_path_must_be_there_unless_only_the_nodes_see_it(
    kind: str, image: str, tmp_path: Path
) -> None:
    path = image.format(tmp_path)
    with pytest.raises(BadValue, match=r"container.image.*one that is there.*seen_here: false"):
        check_container(box(kind, path), VLLM)
    check_container(box(kind, path, seen_here=False), VLLM)
    Path(path.partition(":")[2] or path).touch()
    check_container(box(kind, path), VLLM)


def test_what_cannot_be_mounted_or_entered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"container\.mounts.*/no/such"):
        check_container(box("podman", "i", mounts=["/no/such:/x"]), VLLM)
    check_container(box("podman", "i", mounts=["$SLURM_TMPDIR:/x", f"{tmp_path}:/y:ro"]), VLLM)
    for kind, image in (("apptainer", "vllm.sif"), ("pyxis", "~/i.sqsh"), ("pyxis", "$HOME/i")):
        with pytest.raises(BadValue, match="an absolute path"):
            check_container(box(kind, image), VLLM)
    with pytest.raises(BadValue, match="an image that holds moeserve"):
        check_container(box("podman", "i"), DECODER)
    check_container(box("podman", "i", python="/opt/py"), DECODER)
    check_container(box("apptainer", "/no.sif"), engine_kind("simulated"))  # starts no server


def test_an_unknown_runtime_is_named_with_what_is_meant() -> None:
    with pytest.raises(UnknownName, match=r"runtime 'apptaner'. Did you mean apptainer\?"):
        box("apptaner", "/i.sif")
    with pytest.raises(UnknownName, match=r"Did you mean podman\?"):
        parse_container("podmann:i")
    with pytest.raises(BadValue, match="pyxis:IMAGE or apptainer:IMAGE or podman:IMAGE"):
        parse_container("vllm.sif")


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "--privileged"},
        {"image": ""},
        {"image": "i\n--x"},
        {"mounts": ["relative:/x"]},
        {"mounts": ["/a:x"]},
        {"mounts": ["/a:/b,/etc:/c"]},
        {"mounts": ["/a:/b:ro:rw"]},
        {"mounts": ["/a\x00"]},
        {"python": "py\x1b"},
        {"pythn": "py"},
    ],
)
def test_hostile_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((InputError, BadFile)):
        merge_options({"container": {"kind": "podman", "image": "i", **fields}})


def test_what_an_earlier_version_submitted_stays_readable() -> None:
    before = {"kind": "pyxis", "image": "i.sqsh", "mounts": ["/a"], "python": "python3"}
    assert msgspec.convert(before, Container).python == "python3", "the whole task is in the image"


def test_a_whole_task_in_podman_keeps_slurm_s_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    options = SubmitOptions(
        container=Container(kind="podman", image="i", mounts=("/a:/b",), python="py"),
        scratch="/local",
    )
    words = program("python3", Path("/out"), options, ["x"])[1:]
    assert words[:3] == ["podman", "run", "--rm"]
    mounted = [words[i + 1] for i, word in enumerate(words) if word == "--volume"]
    assert mounted == ["/out:/out", f"{tmp_path}:{tmp_path}", "/local:/local", "/a:/b"]
    assert "SLURM_*" in words
    assert words[-4:] == ["--entrypoint=", "i", "py", "x"]
