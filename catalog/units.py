"""Base units inside, conversion only here: seconds, bytes, FLOP. GiB is not GB, tera is 10**12."""

import re

GB = 10**9
GIB = 2**30
MIB = 2**20
TERA = 10**12
MS_PER_S = 1e3

# Bytes an element of each data type takes in memory.
DTYPE_BYTES = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5,
    "int3": 0.375,
    "int2": 0.25,
    "nvfp4": 0.5625,  # 4-bit values with one 8-bit scale per 16
    "mxfp4": 0.53125,  # 4-bit values with one 8-bit scale per 32: OCP Microscaling v1.0
}

_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": GB, "tb": 10**12, "kib": 2**10}
_SIZES |= {"mib": MIB, "gib": GIB, "tib": 2**40}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]+)\s*")


def size_bytes(text: str) -> float | None:
    """Read a size with its unit (8GiB, 512 MB); None where it is not one."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _SIZES:
        return None
    return float(match[1]) * _SIZES[match[2].lower()]


def gib(size_bytes: float) -> str:
    """Format a size for people."""
    return f"{size_bytes / GIB:.1f} GiB"
