"""Experts quantised by each library: the time of their products, and how far they are off."""

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from clock import Setting, median_s
from table import Table

from catalog.units import GB
from servers.huggingface.quant.experts import linear_of
from servers.huggingface.quant.libraries import BY_LIBRARY
from servers.huggingface.quant.options import GROUPS, SCHEMES, QuantOptions, Scheme

SHAPES = {"OLMoE-1B-7B": (2048, 1024), "Mixtral-8x7B": (4096, 14336)}
SMALL = {"OLMoE-1B-7B": (2048, 1024)}
TOKENS = (1, 16, 128)
SEED = 0
WITHIN_S = 0.4
ERROR = "error: of the product, relative, Frobenius norms"
COLUMNS = (
    "scheme", "bytes a weight", *(f"{count} tokens, µs" for count in TOKENS),
    *(f"of plain, {count}" for count in TOKENS), "GB/s, 1 token", "error", "failed because",
)  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    """Yield a row for each scheme and size of expert: its gate and up, as one matrix."""
    for name, (hidden, width) in (SMALL if setting.small else SHAPES).items():
        torch.manual_seed(SEED)
        weight = torch.randn(2 * width, hidden).mul_(0.02).to(setting.dtype)
        title = f"Gate and up of one expert of {name}, {2 * width} × {hidden}"
        plain = _Plain(weight, setting)
        yield Table(title, COLUMNS, (plain.row(),), (ERROR,))
        for scheme in SCHEMES:
            yield Table(title, COLUMNS, (_row(scheme, weight, plain, setting),))


class _Plain:
    """The product that is not quantised, and what it is multiplied with."""

    def __init__(self, weight: torch.Tensor, setting: Setting) -> None:
        self.layer = linear_of(weight.to(setting.device))
        self.tokens = {
            count: torch.randn(count, weight.shape[1]).to(setting.dtype).to(setting.device)
            for count in TOKENS
        }
        with torch.inference_mode():
            self.times_s = _times_s(self.layer, self.tokens, setting)
            self.output = self.layer(self.tokens[TOKENS[-1]]).float()

    def row(self) -> tuple[str | float | None, ...]:
        size = float(self.layer.weight.element_size())
        bandwidth = self.layer.weight.nbytes / self.times_s[0] / GB
        return ("none", size, *(t * 1e6 for t in self.times_s), 1.0, 1.0, 1.0, bandwidth, 0.0, None)


def _times_s(
    layer: torch.nn.Module, tokens: dict[int, torch.Tensor], setting: Setting
) -> list[float]:
    return [
        median_s(lambda given=given: layer(given), setting.device, within_s=WITHIN_S)
        for given in tokens.values()
    ]


def _row(
    scheme: Scheme, weight: torch.Tensor, plain: _Plain, setting: Setting
) -> tuple[str | float | None, ...]:
    options = QuantOptions(scheme=scheme, group=GROUPS.get(scheme))
    if find_spec(options.library) is None:
        return _failed(scheme, f"{options.library} is not installed")
    quantise = BY_LIBRARY[options.library]
    try:
        with torch.inference_mode():
            before = _held(setting)
            layer = quantise(linear_of(weight.clone()), options, setting.device)
            held = _held(setting) - before
            times_s = _times_s(layer, plain.tokens, setting)
            output = layer(plain.tokens[TOKENS[-1]]).float()
    except Exception as error:  # noqa: BLE001 (a library that fails on this device is a row)
        return _failed(scheme, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    off = torch.linalg.norm(output - plain.output) / torch.linalg.norm(plain.output)
    return (
        scheme,
        held / weight.numel() if held else None,
        *(each * 1e6 for each in times_s),
        *(each / own for each, own in zip(times_s, plain.times_s, strict=True)),
        held / times_s[0] / GB if held else None,
        float(off),
        None,
    )


def _held(setting: Setting) -> int:
    """Bytes that torch holds on the device; 0 on a CPU, where it does not count them."""
    return 0 if setting.device == "cpu" else torch.cuda.memory_allocated()


def _failed(scheme: str, why: str) -> tuple[str | float | None, ...]:
    return (scheme, *(None for _ in range(len(COLUMNS) - 2)), why)
