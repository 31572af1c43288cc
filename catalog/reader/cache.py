"""The type of cache that a checkpoint asks for, as vLLM keeps it unless told otherwise.

Read from vLLM 0.32: `get_kv_cache_quant_algo_string` for Model Optimizer, and the `Attention` layer
(which is not that of latents) for compressed-tensors. What other methods ask for, quark among them,
is kept in the computing type.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.reader.fields import Fields

_KEYS = ("kv_cache_scheme", "kv_cache_quant_algo")
_OTHER_KEYS = ("kv_cache_group", "kv_cache_config", "kv_cache_dtype", "kv_cache_quant")


@dataclass(frozen=True, slots=True)
class AskedCache:
    """What a file asks of the cache; `dtype` None where vLLM keeps the computing type all the same.

    `latents` says whether a cache of latents is kept so too.
    """

    dtype: str | None = None
    latents: bool = False

    def kept(self, *, latent: bool) -> str | None:
        """The type of the cache; four bits are for keys and values alone."""
        return self.dtype if self.latents or not latent else None


def asked_cache(config: Fields, inner: Fields, *, own_file: bool) -> AskedCache | None:
    """Return what a quantisation asks for; `own_file` is Model Optimizer's, which names no method.

    `inner` is the part of `config` that Model Optimizer writes, or `config` itself.
    """
    asked = inner.raw(*_KEYS) or config.raw(*_KEYS)
    export = config.nested("export") if config.is_object("export") else None
    others = any(each.raw(*_OTHER_KEYS) for each in (config, export) if each)
    if not asked:
        return AskedCache() if others else None
    method = config.text("quant_method").lower()
    if own_file or method.startswith("modelopt") or _producer(config) == "modelopt":
        dtype = _optimizers(asked)
        return AskedCache(dtype, latents=dtype == "fp8")
    if method in ("compressed-tensors", "compressed_tensors"):
        return AskedCache("fp8" if _float_bits(asked) == 8 else None)
    return AskedCache()


def _optimizers(asked: object) -> str | None:
    if isinstance(asked, str):
        return {"fp8": "fp8", "nvfp4": "nvfp4"}.get(asked.lower())
    if isinstance(asked, Mapping) and _float_bits(asked) == 8:
        return "fp8" if asked.get("dynamic") is False else None
    return "nvfp4" if _float_bits(asked) == 4 else None


def _float_bits(asked: object) -> object:
    if isinstance(asked, Mapping) and asked.get("type") == "float":
        return asked.get("num_bits")
    return None


def _producer(config: Fields) -> object:
    inner = config.nested("producer") if config.is_object("producer") else None
    return inner.raw("name") if inner else None
