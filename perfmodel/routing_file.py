"""Files that say where tokens went: of `moeserve routing --save`, or a run's experts.parquet."""

import os
from pathlib import Path

import msgspec
import numpy as np

from catalog.errors import BadFile
from catalog.named_file import read_named
from perfmodel.expert_balance import TokenCounts
from perfmodel.experts import RoutingSkew

LARGEST_BYTES = 256_000_000
MOST_CELLS = 4_000_000
"""Layers times experts: those of the largest models are some ten thousand."""
MOST_TOKENS = 2**53
COLUMNS = ("layer", "expert", "tokens")


class RoutingFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens of one text by layer and expert, as a model's own routers sent them."""

    model: str
    text: str
    text_sha256: str
    tokens: int
    top_k: int
    expert_tokens: list[list[int]]
    """Of each layer that has experts, in order; a token counts `top_k` times in each."""


def read_routing(path: Path) -> RoutingSkew:
    """Read either form; BadFile names what is wrong in which field."""
    data = read_named(path, "file of routing", most_bytes=LARGEST_BYTES)
    counts, top_k = (_parquet if path.suffix == ".parquet" else _json)(path, data)
    _check(path, counts)
    return RoutingSkew(counts=tuple(map(tuple, counts.tolist())), top_k=top_k)


def _json(path: Path, data: bytes) -> tuple[TokenCounts, int]:
    try:
        found = msgspec.json.decode(data, type=RoutingFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(path, f"not what `moeserve routing --save` writes: {error}") from error
    if len({len(layer) for layer in found.expert_tokens}) != 1:
        raise BadFile(path, "expert_tokens: layers of one number of experts each")
    if not all(0 <= each <= MOST_TOKENS for layer in found.expert_tokens for each in layer):
        raise BadFile(path, f"expert_tokens: whole numbers from 0 to {MOST_TOKENS}")
    counts = np.array(found.expert_tokens, np.int64)
    wrong = np.flatnonzero(counts.sum(axis=1) != found.tokens * found.top_k)
    if len(wrong):
        told = f"{counts[wrong[0]].sum()} in layer {wrong[0]}"
        raise BadFile(path, f"expert_tokens: {told}, not {found.tokens} tokens · {found.top_k}")
    return counts, found.top_k


def _parquet(path: Path, data: bytes) -> tuple[TokenCounts, None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise BadFile(path, f"has no column {missing[0]}; --expert-load writes experts.parquet")
        layer, expert, tokens = (np.asarray(table[name], np.int64) for name in COLUMNS)
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        raise BadFile(path, f"not an experts.parquet: {str(error).splitlines()[0]}") from error
    cells = 0 if not len(layer) else (int(layer.max()) + 1) * (int(expert.max()) + 1)
    if not len(layer) or min(layer.min(), expert.min(), tokens.min()) < 0 or cells > MOST_CELLS:
        raise BadFile(path, "layer, expert, tokens: whole numbers from 0, a row an expert")
    counts = np.full((layer.max() + 1, expert.max() + 1), -1, np.int64)
    counts[layer, expert] = tokens
    if len(layer) != counts.size or (counts < 0).any():
        raise BadFile(path, f"{len(layer)} rows: one for each of {counts.size} experts of layers")
    return counts, None


def _check(path: Path, counts: TokenCounts) -> None:
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        raise BadFile(path, "expert_tokens: two experts or more, and a token in each layer")


def check_writable(path: Path) -> None:
    """Refuse before the measuring what could not be written after it."""
    folder = path.parent
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise BadFile(path, "cannot be written: name a file in a folder that is there")


def write_routing(path: Path, routing: RoutingFile) -> None:
    try:
        path.write_bytes(msgspec.json.encode(routing) + b"\n")
    except OSError as error:
        raise BadFile(path, f"cannot be written: {error.strerror}") from error
