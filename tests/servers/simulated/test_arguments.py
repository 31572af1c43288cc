"""Server arguments of the simulation: vLLM's spellings, and nothing that is not priced."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.hardware_table import GPUS
from catalog.model_table import MODELS
from perfmodel.memory import Conventions
from perfmodel.serving import ServerSettings, server
from servers.simulated.arguments import (
    ASYNC_SCHEDULING,
    DTYPES,
    KV_DTYPES,
    PREFIX_CACHING,
    PRICED,
    WAYS,
    ServerArguments,
    server_arguments,
)
from strategies import parse_layout
from strategies.vllm_numbers import tokens

VALUES: dict[str, st.SearchStrategy[object]] = {
    "max_num_seqs": st.integers(1, 64),
    "max_num_batched_tokens": st.integers(64, 2**20),
    "gpu_memory_utilization": st.floats(0.01, 1),
    "max_model_len": st.integers(1, 2**20),
    "block_size": st.integers(1, 256),
    "kv_cache_dtype": st.sampled_from(sorted(KV_DTYPES)),
    "dtype": st.sampled_from(DTYPES),
}


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[list[str], dict[str, object]]:
    """Words in any of vLLM's spellings and order, some given again, and what they come to."""
    words: list[str] = []
    wanted: dict[str, object] = {}
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=10)):
        value = draw(VALUES[name])
        flag = "--" + draw(st.sampled_from((name, name.replace("_", "-"))))
        words += draw(st.sampled_from(([f"{flag}={value}"], [flag, str(value)])))
        wanted[name] = value
    for name in draw(st.sets(st.sampled_from(["enable_prefix_caching", "async_scheduling"]))):
        on = draw(st.booleans())
        words.append(f"--{'' if on else 'no-'}{name.replace('_', '-')}")
        wanted[name] = on
    return words, wanted


@pytest.mark.slow
@given(command_lines())
def test_both_spellings_are_read_and_the_last_one_wins(
    line: tuple[list[str], dict[str, object]],
) -> None:
    words, wanted = line
    assert server_arguments(words) == ServerArguments(**wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2048", 2048),
        ("8k", 8000),
        ("8K", 8192),
        ("25.6k", 25_600),
        ("1M", 2**20),
        ("2m", 2_000_000),
    ],
)
def test_tokens_have_vllms_suffixes(text: str, number: int) -> None:
    assert tokens(text) == number
    assert server_arguments([f"--max-model-len={text}"]).max_model_len == number


@pytest.mark.parametrize("text", ["auto", "-1", "AUTO"])
def test_a_length_left_to_the_server_sets_none(text: str) -> None:
    assert server_arguments(["--max-model-len", text]) == ServerArguments()


@pytest.mark.parametrize(
    "line",
    [
        *(f"{flag}=" for flag in PRICED),
        *(f"{flag}=bogus" for flag in PRICED),
        "--max-num-seqs=0",
        "--max-num-seqs=-4",
        "--max-num-seqs=4.5",
        "--max-num-seqs=1K",
        "--max-num-batched-tokens=1.5K",
        "--gpu-memory-utilization=0",
        "--gpu-memory-utilization=1.01",
        "--gpu-memory-utilization=nan",
        "--max-model-len=0",
        "--block-size=257",
        "--kv-cache-dtype=int8_per_token_head",
        "--dtype=fp8",
        "--max-num-seqs=" + "9" * 5000,
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_its_argument(line: str) -> None:
    flag = line.partition("=")[0]
    with pytest.raises(BadValue, match=f"^{flag}: got .* allowed: "):
        server_arguments([line])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--bogus=1", "no price for anything else"),
        ("--bogus 1", "--bogus"),
        ("stray", "stray"),
        ("-tp 2", "--strategy tp2"),
        ("--quantization=fp8", "-t fp8"),
        ("--enforce-eager", "--enforce-eager"),
        ("--max-num-seq=4", "Did you mean --max-num-seqs"),
        ("--max_num_sequences 4", "Did you mean --max-num-seqs"),
        ("--hardware=H100", "--hardware"),
        ("--fault=no-done", "--fault"),
        ("--max-num-seqs", "expected one argument"),
        ("--no-enable-prefix-caching=1", "ignored explicit argument"),
        ("--max-num-seqs 4 -- --max-num-seqs 8", "--"),
    ],
)
def test_what_is_not_priced_is_refused_with_what_is(line: str, told: str) -> None:
    with pytest.raises(BadValue, match="argument of the simulated server") as refused:
        server_arguments(shlex.split(line))
    message = str(refused.value)
    assert told in message
    assert "--max-num-batched-tokens, --gpu-memory-utilization" in message
    assert "\n" not in message


@pytest.mark.slow
@given(st.text(min_size=1, max_size=20).filter(lambda text: not text.isspace()))
def test_no_other_word_passes(word: str) -> None:
    name = word.partition("=")[0].replace("_", "-").removeprefix("--")
    if f"--{name.removeprefix('no-')}" in (*PRICED, PREFIX_CACHING, ASYNC_SCHEDULING):
        return
    for line in ([word], [f"--{word}"]):
        with pytest.raises(BadValue):
            server_arguments(line)


def test_a_way_out_is_told_only_for_what_is_refused() -> None:
    assert not set(WAYS) & set(PRICED)


def test_arguments_come_over_what_is_assumed_and_leave_the_rest() -> None:
    assumed = ServerSettings(
        max_num_seqs=7, conventions=Conventions(kv_dtype="fp8", usable_fraction=0.5)
    )
    assert server_arguments([]).setup(assumed) == assumed
    changed = server_arguments(["--kv-cache-dtype=auto", "--block-size=32"]).setup(assumed)
    assert (changed.conventions.kv_dtype, changed.block_tokens) == (None, 32)
    assert (changed.conventions.usable_fraction, changed.max_num_seqs) == (0.5, 7)


def test_a_limit_on_sequences_gives_way_to_the_budget_unless_somebody_asked_for_it() -> None:
    asked = server_arguments(["--max-num-batched-tokens=100"]).setup()
    olmoe, tp, a100 = MODELS["OLMoE-1B-7B"], parse_layout("tp"), GPUS["A100-80GB"]
    built = server(olmoe, tp, a100, longest=4096, setup=asked)
    assert built.limits.max_num_seqs == 100
    with pytest.raises(BadValue, match="--max-num-seqs: got 200, allowed: at most"):
        server_arguments(["--max-num-batched-tokens=100", "--max-num-seqs=200"])


def test_what_is_told_twice_is_refused_with_both() -> None:
    one, other = ServerArguments(max_num_seqs=8), ServerArguments(max_num_seqs=4, dtype="half")
    with pytest.raises(BadValue, match="got '8 and --server-arg=--max-num-seqs=4'"):
        one.joined(other)
    assert ServerArguments(block_size=8).joined(other).given == {
        "max_num_seqs": 4,
        "dtype": "half",
        "block_size": 8,
    }


def test_a_length_over_the_models_context_is_refused_with_both_numbers() -> None:
    with pytest.raises(BadValue, match="got 8192, allowed: up to 4096"):
        ServerArguments(max_model_len=8192).check_context(MODELS["OLMoE-1B-7B"])
