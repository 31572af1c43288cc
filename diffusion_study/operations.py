"""How many operations a forward pass hands to the device: what a launch-bound GPU pays for."""

from collections.abc import Callable
from typing import Any


def count_operations(run: Callable[[], object]) -> int:
    """Count the operations dispatched while running, without views, which compute nothing."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is untyped here
        count = 0

        def __torch_dispatch__(
            self, operation: Any, _: object, args: Any = (), kwargs: Any = None
        ) -> Any:
            if not is_view(operation):
                self.count += 1
            return operation(*args, **(kwargs or {}))

    with Counter() as counter:
        run()
    return int(counter.count)


def is_view(operation: Any) -> bool:
    """Whether an operation only looks at its input another way: aliases it, writes nothing."""
    aliases = [each.alias_info for each in operation._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)
