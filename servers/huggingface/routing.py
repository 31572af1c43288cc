"""Which experts each token goes to, as the model's own routers say while it computes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue
from servers.http.routed_experts import encode_routed

FLAG = "--enable-return-routed-experts"
"""vLLM's name for it."""


class RoutingRecorder:
    """Notes what every layer's experts are handed while a batch is decoded.

    transformers hands a layer's `experts` the chosen ones of each token as whole numbers, (T, k),
    whatever its router made of scores, biases and groups before.
    """

    def __init__(self, model: Any) -> None:
        self._layers = [
            module
            for name, module in model.named_modules()
            if name.rpartition(".")[2] == "experts" and not isinstance(module, _module_list())
        ]
        if not self._layers:
            kind = type(model).__name__
            raise BadValue(FLAG, kind, "a model whose layers hand tokens to a module of experts")
        self._passes: list[list[NDArray[np.integer[Any]]]] = []
        self._rows = 1
        for layer, module in enumerate(self._layers):
            module.register_forward_pre_hook(self._hook(layer), with_kwargs=True)

    @contextlib.contextmanager
    def noting(self, rows: int) -> Iterator[None]:
        """Note the passes meanwhile, each of `rows` sequences of one length."""
        self._rows, self._passes = rows, [[] for _ in self._layers]
        try:
            yield
        finally:
            self._passes = []

    def encoded(self, row: int) -> str:
        """Return a row's experts so far, as the server answers them."""
        layers = [np.concatenate([each[row] for each in passes]) for passes in self._passes]
        chosen = np.stack(layers, axis=1)
        return encode_routed(chosen, int(chosen.max()) + 1)

    def _hook(self, layer: int) -> Any:
        def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._passes:
                return
            chosen = [each for each in (*args, *kwargs.values()) if _is_choice(each)]
            if not chosen:
                raise RuntimeError("the experts are not told which of them a token chose")
            found = chosen[0].reshape(self._rows, -1, chosen[0].shape[-1])
            self._passes[layer].append(found.cpu().numpy())

        return note


def _is_choice(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and not value.is_floating_point() and value.ndim == 2


def _module_list() -> Any:
    from torch import nn

    return nn.ModuleList
