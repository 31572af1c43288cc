"""Bytes that a model's tensors really take, whatever classes libraries wrap around them."""

from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor

OPAQUE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType, str, bytes, int, float)


def tensor_bytes(root: object) -> int:
    """Sum the memory of every tensor that can be reached from an object, shared memory once."""
    memory = {}
    for tensor in tensors_of(root):
        storage = tensor.untyped_storage()
        memory[storage.device, storage.data_ptr()] = storage.nbytes()
    return sum(memory.values())


def tensors_of(root: object) -> Iterator[Tensor]:
    """Find plain tensors in modules, containers, attributes, and tensors made of tensors."""
    waiting, seen = [root], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, OPAQUE):
            continue
        seen.add(id(found))
        waiting.extend(_inside(found))
        if isinstance(found, Tensor) and not hasattr(found, "__tensor_flatten__"):
            yield found


def _inside(found: Any) -> Iterator[object]:
    if isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list | tuple | set):
        yield from found
    elif hasattr(found, "__dict__"):
        yield from vars(found).values()
