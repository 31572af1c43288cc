"""What one, three and ten runs of one's own do for estimates of further loads.

    python benchmarks/perfmodel/own_runs.py [TRUTHS]

Each truth is a machine whose constants lie elsewhere than the default's, drawn from the priors of
`perfmodel/free.py`. Its runs are simulated, with 3 % of noise each; the fit sees some of them and
is asked for other loads, lengths and layouts of the same model and GPU. Prints the factor of
estimated over true throughput and TTFT that half and nine in ten are within, before and after,
and the share of figures within the 90 % bounds that a user would have seen. A minute; needs scipy.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.calibrate import calibrate
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import DEFAULT, Constants
from perfmodel.features import MeasuredRun
from perfmodel.fitted_error import Asked
from perfmodel.free import free_constants
from perfmodel.known_error import confidence
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import simulate
from strategies.parse import parse_layout

NOISE = 0.03
SEEN = [
    (layout, lengths, load)
    for load in (64, 4, 16, 128, 1)
    for layout, lengths in (("tp", (1024, 128)), ("tp2+ep", (512, 256)))
]
ASKED = [
    (layout, lengths, load)
    for layout in ("tp", "tp2+ep")
    for lengths in ((1024, 128), (700, 200))
    for load in (2, 8, 32, 100)
]
Load = tuple[str, tuple[int, int], int]


def measured(load: Load, constants: Constants) -> MeasuredRun:
    """What a server with these constants would show."""
    name, lengths, in_flight = load
    spec, layout, device = model("Qwen3-30B-A3B"), parse_layout(name), gpu("H100")
    setup, count = ServerSettings(constants=constants), max(64, in_flight)
    built = server(spec, layout, device, longest=sum(lengths), setup=setup)
    result = simulate(
        ClosedLoop(count, in_flight), [lengths] * count, built.step_model, limits=built.limits
    )
    first_s = np.array([times[0] for times in result.token_times_s]) - result.sent_s
    return MeasuredRun(
        model=spec,
        layout=layout,
        gpu=device,
        input_len=lengths[0],
        output_len=lengths[1],
        num_prompts=count,
        max_concurrency=in_flight,
        output_throughput=count * lengths[1] / float(result.done_s.max()),
        mean_ttft_ms=1e3 * float(first_s.mean()),
    )


def noisy(run: MeasuredRun, random: np.random.Generator) -> MeasuredRun:
    one, two = np.exp(NOISE * random.standard_normal(2))
    first = (run.mean_ttft_ms or 0.0) * two
    return replace(run, output_throughput=run.output_throughput * one, mean_ttft_ms=first)


def truth(random: np.random.Generator) -> Constants:
    """Constants of another machine: the priors', as far off as they allow for."""
    values = {}
    for free in free_constants(DEFAULT, first_tokens=True):
        at = float(np.clip(random.standard_normal(), free.least, free.most))
        values[free.name] = free.value(at)
    return msgspec.structs.replace(DEFAULT, name="truth", **values)


def compare(used: Constants, true: Sequence[MeasuredRun]) -> tuple[list[list[float]], list[bool]]:
    """Logarithms of estimated over true, and whether each is within its bounds."""
    errors, held = [], []
    for run, load in zip(true, ASKED, strict=True):
        said = measured(load, used)
        asked = Asked(run.model.total_params, run.input_len, run.output_len, run.max_concurrency)
        known = confidence(used.name, run.layout, run.gpu, asked, fitted=used.error)
        both = [
            float(np.log(said.output_throughput / run.output_throughput)),
            float(np.log((said.mean_ttft_ms or 0.0) / (run.mean_ttft_ms or 1.0))),
        ]
        errors.append(both)
        for error, name in zip(both, ("output_throughput", "mean_ttft_ms"), strict=True):
            held.append(abs(error) <= np.log(known.factors[name]))
    return errors, held


def main(words: Sequence[str]) -> None:
    truths, random = int(words[0]) if words else 12, np.random.default_rng(7)
    found: dict[int, tuple[list[list[float]], list[bool]]] = {n: ([], []) for n in (0, 1, 3, 10)}
    for _ in range(truths):
        constants = truth(random)
        seen = [noisy(measured(load, constants), random) for load in SEEN]
        true = [measured(load, constants) for load in ASKED]
        for count, (errors, held) in found.items():
            used = calibrate(seen[:count]).constants if count else DEFAULT
            more, within = compare(used, true)
            errors += more
            held += within
    for count, (errors, held) in found.items():
        sizes = np.exp(np.quantile(np.abs(errors), [0.5, 0.9], axis=0))
        (half, first), (most, first_most) = sizes
        print(
            f"{count:3} runs: tokens/s {half:.2f} · {most:.2f}   TTFT {first:.2f} · "
            f"{first_most:.2f}   within the bounds {np.mean(held):.0%}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
