"""The memory check follows the types that the server is really told."""

from types import SimpleNamespace

import pytest

from catalog.dtypes import with_dtype
from catalog.errors import BadValue, Infeasible
from catalog.model_table import MODELS
from catalog.units import GIB
from orchestrator.engines.vllm.kind import QUANTISED
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.experiment.server_dtypes import requested_dtype, requested_model
from orchestrator.host.devices import Device
from orchestrator.plan import Plan, make_plan
from strategies.technique import parse_technique
from tests.needs import needs_transformers


def plan_of(model: str, engine: str, args: tuple[str, ...], strategy: str = "single") -> Plan:
    """Two A100 of 80 GiB: 70.5 GiB of each may be used."""
    study = Experiment(models=(model,), strategies=(strategy,), server=ServerOptions(args=args))
    names = ["NVIDIA A100-SXM4-80GB"] * 2
    found = tuple(
        Device(index=index, uuid=f"GPU-{index}", name=name, memory_bytes=80 * GIB)
        for index, name in enumerate(names)
    )
    return make_plan(study, engine, found=found)


@pytest.mark.parametrize(
    ("args", "dtype"),
    [
        ((), None),
        (("--dtype=half",), "half"),
        (("--dtype", "float16", "--max-model-len", "512"), "float16"),
        (("--dtype=float32", "--hf-overrides", '{"a": 1}', "--dtype", "bfloat16"), "bfloat16"),
        (("--kv-cache-dtype=fp8", "--dtypes=float16", "-tp", "2"), None),
    ],
)
def test_the_last_dtype_in_either_spelling_counts(args: tuple[str, ...], dtype: str | None) -> None:
    assert requested_dtype(args) == dtype


def test_a_dtype_without_its_value_is_bad_input() -> None:
    with pytest.raises(BadValue, match="argument --dtype: expected one argument"):
        requested_dtype(["--dtype"])


@pytest.mark.parametrize(
    ("technique", "args", "weights", "experts"),
    [
        ("none", "", "bfloat16", None),
        ("none", "--dtype=half", "float16", None),
        ("bf16", "--dtype=float32", "float32", None),
        ("fp32", "--dtype=auto", "bfloat16", None),
        ("fp8", "--dtype=float32", "fp8", "fp8"),
        ("none", "--quantization=fp8", "fp8", "fp8"),
        ("int8", "-q fp8", "fp8", "fp8"),
        ("fp8", "--quantization experts_int8 --dtype float16", "float16", "int8"),
    ],
)
def test_what_the_user_s_arguments_set_the_technique_sets_no_longer(
    technique: str, args: str, weights: str, experts: str | None
) -> None:
    given = parse_technique(technique)
    held = requested_model(given, MODELS["Mixtral-8x7B"], args.split(), quantised=QUANTISED)
    assert held is not None
    assert (held.weight_dtype, held.expert_dtype) == (weights, experts)


def test_what_is_not_known_is_not_guessed() -> None:
    mixtral, plain = MODELS["Mixtral-8x7B"], parse_technique("none")
    for args in (["--quantization=torchao"], ["--dtype=float8"]):
        assert requested_model(plain, mixtral, args, quantised=QUANTISED) is None


def test_a_quantised_checkpoint_stays_as_it_is() -> None:
    halved = with_dtype(MODELS["gpt-oss-20b"], "float16")
    assert halved is not None
    assert (halved.weight_dtype, halved.expert_dtype) == ("float16", "mxfp4")
    deepseek = MODELS["DeepSeek-V3"]
    assert with_dtype(deepseek, "float16") == deepseek
    args = ["--quantization=deepseek_v4_fp8"]
    assert requested_model(parse_technique("none"), deepseek, args, quantised=QUANTISED) == deepseek


def test_vllm_s_own_dtype_and_quantization_decide_what_fits() -> None:
    # Mixtral: 87.0 GiB at 2 bytes, 43.5 on each of two GPUs or at 1 byte, 87.0 at 4 over two.
    assert plan_of("mixtral", "vllm", (), "tp").setups
    with pytest.raises(Infeasible, match=r"weights take 87\.0 GiB of each GPU"):
        plan_of("mixtral", "vllm", ("--dtype", "float32"), "tp")
    with pytest.raises(Infeasible, match=r"weights take 87\.0 GiB"):
        plan_of("mixtral", "vllm", ())
    assert plan_of("mixtral", "vllm", ("--quantization=fp8",)).setups


@needs_transformers
def test_the_transformers_engine_s_own_dtype_decides_what_fits() -> None:
    # 30.5 billion parameters: 56.9 GiB at 2 bytes, twice that at 4.
    assert plan_of("Qwen3-30B-A3B", "transformers", ()).setups
    with pytest.raises(Infeasible, match=r"weights take 113\.\d GiB"):
        plan_of("Qwen3-30B-A3B", "transformers", ("--dtype=float32",))


def test_the_diffusion_engine_s_own_dtype_decides_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 8.0 billion parameters: 14.9 GiB at 2 bytes, 29.9 at 4.
    free = SimpleNamespace(available=20 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    asked = Experiment(models=("LLaDA-8B",), engine="diffusion", workloads=("32:64:2",))
    assert make_plan(asked, "diffusion").setups
    wide = Experiment(
        models=("LLaDA-8B",),
        engine="diffusion",
        workloads=("32:64:2",),
        server=ServerOptions(args=("--dtype=float32",)),
    )
    with pytest.raises(Infeasible, match=r"weights 29\.9 GiB"):
        make_plan(wide, "diffusion")
