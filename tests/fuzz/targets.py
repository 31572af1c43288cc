"""Every reader of foreign bytes: right inputs to damage, and what is done with what comes of it.

A target ends without an exception, or with one of `MoeserveError` in one line: that is the whole
claim. Anything else is a fault of ours.
"""

import io
import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.read import read_table
from analysis.importers import import_files
from catalog.errors import MoeserveError
from catalog.from_hf import load_model, read_model
from orchestrator.engines.llamacpp.gguf import read_head
from orchestrator.engines.vllm.readback import observed
from orchestrator.experiment.experiment import read_experiment
from orchestrator.measure.expert_load import balancer_figures
from orchestrator.measure.failures import classify
from orchestrator.plan import make_plan
from tests.analysis.importers.shapes import AGENTIC, INFERENCEX, LLMPERF, SGLANG, STAGE, VLLM
from tests.fuzz import answers
from tests.fuzz.mutate import mutated
from workloads.figures.server_metrics import parse_metrics, window
from workloads.protocol.exchange import Exchange

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Seeds = Sequence[tuple[bytes, str]]
"""Content, and the end of the name under which it is read."""


@dataclass(frozen=True)
class Target:
    """A reader of foreign bytes."""

    seeds: Callable[[], Seeds]
    read: Callable[[bytes, Path], None]
    """Read the bytes, with a path they may be written to."""

    def once(self, rng: Random, folder: Path) -> bytes:
        """Read one damaged input; raises what is a fault of ours."""
        content, name = rng.choice(self.seeds())
        given = content if rng.random() < 0.02 else mutated(rng, content)
        self.check(given, folder / f"input{name}")
        return given

    def check(self, given: bytes, path: Path) -> None:
        try:
            self.read(given, path)
        except MoeserveError as refused:
            assert str(refused), "refused without a word"
            assert len(str(refused)) < 5_000, "a message without end"


@cache
def _answers() -> Seeds:
    return [(seed, "") for seed in answers.SEEDS]


def _answer(given: bytes, _: Path) -> None:
    exchange = Exchange(0, 0.0, answers.TOKENS)
    exchange.sent, exchange.done = 0.0, 1.0
    for number, piece in enumerate(answers.pieces(Random(len(given)), given)):
        exchange.take(piece, 0.01 * number)
    exchange.end()
    row = exchange.row(0.0, 4)
    assert 0 <= row.output_tokens <= 2 * answers.TOKENS + 16
    assert row.error.isprintable()
    assert row.finish_reason.isprintable()


METRICS = b"""# HELP vllm:prompt_tokens_total Tokens.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1234.0
vllm:generation_tokens_total{engine="0",model_name="m \\"x\\""} 5678.0 1700000000000
vllm:num_requests_running{engine="0"} 3.0
vllm:time_to_first_token_seconds_sum{engine="0",le="+Inf"} 1.5e1
vllm:time_to_first_token_seconds_count{engine="0"} 30
vllm:request_success_total{engine="1",finished_reason="length"} 7
"""
LOG = b"""INFO non-default args: {'model': 'm', 'tensor_parallel_size': 2}
INFO tensor_parallel_size=2, pipeline_parallel_size=1, data_parallel_size=2, seed=0
INFO rank 1 in world size 4 is assigned as DP rank 0
INFO [EP Rank 0/4] Expert parallelism is enabled
INFO Model loading took 12.5 GiB memory
INFO GPU KV cache size: 123,456 tokens
INFO EPLB step: 3 for model m: avg_tokens=12.5, max_tokens=30, balancedness=0.4
INFO Capturing CUDA graphs:  12%
ERROR torch.OutOfMemoryError: CUDA out of memory
ERROR /cache/torch_compile_cache/x FileNotFoundError
"""


def _metrics(given: bytes, _: Path) -> None:
    before, after = parse_metrics(METRICS.decode()), parse_metrics(given.decode(errors="replace"))
    found = window(before, after)
    assert isinstance(found.restarted, bool)
    found.figures()


def _log(given: bytes, _: Path) -> None:
    text = given.decode(errors="replace")
    classify(text, "DEFAULT")
    observed(text)
    balancer_figures(text)


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@cache
def _ggufs() -> Seeds:
    entries = (
        _text(b"general.architecture") + struct.pack("<I", 8) + _text(b"llama"),
        _text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + _text(b"a") * 3,
        _text(b"tokenizer.ggml.scores") + struct.pack("<IIQff", 9, 6, 2, 1.0, 2.0),
        _text(b"llama.expert_count") + struct.pack("<II", 4, 8),
        _text(b"llama.context_length") + struct.pack("<IQ", 10, 4096),
    )
    whole = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)
    endless = whole[:24] + _text(b"a") + struct.pack("<IIQ", 9, 8, 2**60)
    return [(whole, ".gguf"), (endless + bytes(4096), ".gguf")]


def _gguf(given: bytes, path: Path) -> None:
    path.write_bytes(given)
    read_head(path)


@cache
def _configs() -> Seeds:
    lines = (ROOT / "tests/catalog/reader/configs.jsonl").read_text().splitlines()
    return [(json.dumps(json.loads(line)["config"]).encode(), ".json") for line in lines]


def _config(given: bytes, path: Path) -> None:
    path.write_bytes(given)
    read_model(str(path))
    load_model(str(path))


@cache
def _imports() -> Seeds:
    shapes = (AGENTIC, INFERENCEX, LLMPERF, SGLANG, STAGE, VLLM)
    found = [(json.dumps(shape).encode(), ".json") for shape in shapes]
    data = ROOT / "tests/analysis/importers/data"
    found += [(path.read_bytes(), path.suffix) for path in sorted(data.iterdir())]
    found += [(path.read_bytes(), ".json") for path in sorted(HERE.glob("corpus/import-*.json"))]
    printed = b"====== Serving Benchmark Result ======\nSuccessful requests:     5\n"
    printed += b"Benchmark duration (s):  1.5\nOutput token throughput (tok/s): 40.1\n"
    printed += b"Mean TTFT (ms):  12.5\n======================================\n"
    aiperf = b"Metric,avg,min,max,p99\nTime to First Token (ms),12.5,1.0,2.0,3.0\n\nMetric,Value\n"
    aiperf += b"Output Token Throughput (tokens/sec),44.1\nRequest Count (count),12\n"
    return [*found, (printed, ".txt"), (aiperf, ".csv")]


def _import(given: bytes, path: Path) -> None:
    into = path.with_name("out")
    path.write_bytes(given)
    try:
        import_files([path], into)
    except MoeserveError:
        assert not into.exists(), "refused, and something was written"
        raise
    finally:
        shutil.rmtree(into, ignore_errors=True)


@cache
def _experiments() -> Seeds:
    files = [*sorted(ROOT.glob("examples/*.yaml")), *sorted(HERE.glob("corpus/*.yaml"))]
    small = b"models: [OLMoE-1B-7B]\nstrategies: tp,ep\nworkloads: ['128:128:100']\nnum_runs: 3\n"
    small += b"concurrency: 1..8\nengine: simulated\nhardware: A100-80GB\nseed: 7\nnoise: 0.02\n"
    return [*((path.read_bytes(), ".yaml") for path in files), (small, ".yaml")]


def _experiment(given: bytes, path: Path) -> None:
    path.write_bytes(given)
    make_plan(read_experiment(path), "simulated")


@cache
def _tables() -> Seeds:
    small = sorted((ROOT / "tests/analysis/small_inputs").glob("*.csv"))
    texts = [path.read_bytes() for path in small] + [
        (HERE / "corpus/csv_cr_input.csv").read_bytes()
    ]
    return [(text, ".csv") for text in texts] + [(_parquet(), ".parquet")] * len(texts)


def _parquet() -> bytes:
    rows = {"model": ["m", "n"] * 4, "strategy": ["tp", "ep"] * 4, "output_throughput": [1.5] * 8}
    more = {"max_concurrency": [1, 2] * 4, "run_id": list("abcdefgh"), "own": [[1.0]] * 8}
    file = io.BytesIO()
    pq.write_table(pa.table(rows | more), file)
    return file.getvalue()


def _table(given: bytes, path: Path) -> None:
    path.write_bytes(given)
    read_table(path)


TARGETS: dict[str, Target] = {
    "answers": Target(_answers, _answer),
    "metrics": Target(lambda: [(METRICS, "")], _metrics),
    "logs": Target(lambda: [(LOG, "")], _log),
    "gguf": Target(_ggufs, _gguf),
    "configs": Target(_configs, _config),
    "imports": Target(_imports, _import),
    "yaml": Target(_experiments, _experiment),
    "tables": Target(_tables, _table),
}
