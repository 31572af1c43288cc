"""Where accelerate put each weight, and what it brings in from there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class Places:
    """Weights by where they stay, in bytes, and what has been brought in so far."""

    device_bytes: int = 0
    host_bytes: int = 0
    disk_bytes: int = 0
    largest_bytes: int = 0
    """Of one module that is brought in: it lies on the device while it runs."""
    moved_bytes: int = 0
    """From host memory and from disk, so far."""
    read_bytes: int = 0
    """Of these from disk."""

    @property
    def device_peak_bytes(self) -> int:
        return self.device_bytes + self.largest_bytes


@dataclass(slots=True)
class CountedWeights(Mapping[str, Tensor]):
    """accelerate's weights by name, counted as they are asked for."""

    source: Any
    """`accelerate.utils.OffloadedWeightsLoader`."""
    places: Places
    on_disk: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.on_disk = frozenset(self.source.index) - frozenset(self.source.state_dict)

    def __getitem__(self, name: str) -> Tensor:
        weight: Tensor = self.source[name]
        self.places.moved_bytes += weight.nbytes
        if name in self.on_disk:
            self.places.read_bytes += weight.nbytes
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)


def count_weights(model: Any) -> tuple[Places, dict[str, dict[str, Any]]]:
    """Count a dispatched model's weights by place; return accelerate's index of those on disk too.

    From here on, whatever its hooks fetch is counted. A weight that two modules share counts once
    where it stays, and each time it is moved.
    """
    places, seen = Places(), set[str]()
    counted: dict[int, CountedWeights] = {}
    for module in model.modules():
        maps = [hook.weights_map for hook in _hooks(module) if getattr(hook, "offload", False)]
        brought = 0
        for prefixed in maps:
            source = prefixed.dataset
            weights = counted.get(id(source))
            if weights is None:
                weights = CountedWeights(source, places)
                counted[id(source)] = counted[id(weights)] = weights
            prefixed.dataset = weights
            for name, weight in module.named_parameters(recurse=False):
                full, size = f"{prefixed.prefix}{name}", weight.nbytes
                brought += size
                if full in seen:
                    continue
                seen.add(full)
                if full in weights.on_disk:
                    places.disk_bytes += size
                else:
                    places.host_bytes += size
        places.largest_bytes = max(places.largest_bytes, brought)
    places.device_bytes = sum(
        each.nbytes for each in model.parameters() if each.device.type != "meta"
    )
    index: dict[str, dict[str, Any]] = {}
    for weights in counted.values():
        index |= weights.source.index
    return places, index


def _hooks(module: Any) -> list[Any]:
    hook = getattr(module, "_hf_hook", None)
    return list(getattr(hook, "hooks", [hook])) if hook is not None else []
