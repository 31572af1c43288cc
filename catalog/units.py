"""Base units inside, conversion only here: seconds, bytes, FLOP. GiB is not GB, tera is 10**12."""

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
    "mxfp4": 0.53125,  # 4-bit values with one 8-bit scale per 32: OCP Microscaling v1.0
}


def gib(size_bytes: float) -> str:
    """Format a size for people."""
    return f"{size_bytes / GIB:.1f} GiB"
