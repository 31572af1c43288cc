"""What llama.cpp's server says of itself, under the names that the rest of moeserve reads."""

from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.errors import EndpointError
from orchestrator.measure.control import TIMEOUT_S, Control

Facts = Mapping[str, str | int | float]


class LlamaCppControl(Control):
    """Control of a llama.cpp server; `facts` are what is known of it from elsewhere."""

    def __init__(self, base_url: str, *, facts: Facts) -> None:
        super().__init__(base_url)
        self._facts = facts

    async def models(self) -> list[dict[str, Any]]:
        """Add the server's account, in `details`, to what it lists."""
        listed = await super().models()
        return [{**entry, "details": await self._account(entry)} for entry in listed]

    async def version(self, *, limit_s: float = TIMEOUT_S) -> str | None:
        """Return the build it names; the one in `xllamacpp` knows its package's version alone."""
        if "xllamacpp" in self._facts:
            return f"xllamacpp {self._facts['xllamacpp']}"
        return (await self._properties(limit_s)).build_info or None

    async def _account(self, entry: Mapping[str, Any]) -> dict[str, str | int | float]:
        try:
            meta = msgspec.convert(entry.get("meta") or {}, _Meta)
        except msgspec.ValidationError:
            meta = _Meta()
        properties = await self._properties()
        told: dict[str, str | int | float] = {
            "quantisation": meta.ftype or properties.model_ftype,
            "parameters": meta.n_params,
            "weight_bytes": meta.size,
            "model_memory_bytes": 0 if self._divided else meta.size,
            "slots": properties.total_slots,
            "kv_tokens_capacity": properties.total_slots * meta.n_ctx,
        }
        return {**{name: value for name, value in told.items() if value}, **self._facts}

    @property
    def _divided(self) -> bool:
        """True when some weights are on a GPU and others on the host: how many is not told."""
        return self._facts["device"] != "cpu" and "experts_on_host" in self._facts

    async def _properties(self, limit_s: float = TIMEOUT_S) -> "_Properties":
        try:
            return msgspec.json.decode(
                await self._ask("GET", self.url("/props"), limit_s), type=_Properties
            )
        except (EndpointError, msgspec.DecodeError):
            return _Properties()


class _Meta(msgspec.Struct):
    ftype: str = ""
    n_params: int = 0
    size: int = 0
    n_ctx: int = 0


class _Properties(msgspec.Struct):
    total_slots: int = 0
    model_ftype: str = ""
    build_info: str = ""
