"""Layers that keep a state of fixed size: Mamba, delta rule, linear attention, convolutions.

Sizes follow the modules of Hugging Face transformers; convolutions keep kernel - 1 columns.
"""

from collections.abc import Callable

from catalog.attention import FixedState, GroupedQueryAttention, StateKind
from catalog.reader.fields import Fields


def gated_delta(fields: Fields, hidden: int) -> FixedState:
    """Gated DeltaNet as in Qwen3-Next: query, key, value, gate, and two numbers a value head."""
    heads = fields.integer("linear_num_value_heads")
    keys = fields.integer("linear_num_key_heads") * fields.integer("linear_key_head_dim")
    value_dim = fields.integer("linear_value_head_dim")
    values = heads * value_dim
    kernel = fields.integer("linear_conv_kernel_dim")
    channels = 2 * keys + values
    return _state(
        "gated-delta",
        heads,
        {
            "in_proj_qkv": hidden * channels,
            "in_proj_z": hidden * values,
            "in_proj_b": hidden * heads,
            "in_proj_a": hidden * heads,
            "out_proj": values * hidden,
        },
        small=channels * kernel + 2 * heads + value_dim,
        state=heads * fields.integer("linear_key_head_dim") * value_dim + channels * (kernel - 1),
    )


def kimi_delta(fields: Fields, hidden: int) -> FixedState:
    """Kimi Delta Attention (arXiv 2510.26692): gates of low rank, one decay a channel."""
    inner = fields.nested("linear_attn_config")
    if inner is not None:
        fields.supersede("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
        heads, head_dim = inner.integer("num_heads"), inner.integer("head_dim")
        kernel = inner.integer("short_conv_kernel_size")
    else:
        heads, head_dim = (fields.integer(f"linear_{key}") for key in ("num_heads", "head_dim"))
        kernel = fields.integer("linear_conv_kernel_dim")
    width = heads * head_dim
    return _state(
        "kimi-delta",
        heads,
        {
            **{f"{part}_proj": hidden * width for part in "qkv"},
            **{f"{gate}_a_proj": hidden * head_dim for gate in "fg"},
            **{f"{gate}_b_proj": head_dim * width for gate in "fg"},
            "b_proj": hidden * heads,
            "o_proj": width * hidden,
        },
        small=3 * width * kernel + width + heads + head_dim,
        state=heads * head_dim**2 + 3 * width * (kernel - 1),
    )


def lightning(fields: Fields, hidden: int) -> FixedState:
    """Lightning attention (MiniMax-01, arXiv 2501.08313): a square state for each head."""
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default=hidden // heads)
    width = heads * head_dim
    return _state(
        "lightning",
        heads,
        {
            "qkv_proj": 3 * hidden * width,
            "output_gate": hidden * width,
            "out_proj": width * hidden,
        },
        small=width,
        state=heads * head_dim**2,
    )


def mamba2(fields: Fields, hidden: int) -> FixedState:
    """Mamba-2 (arXiv 2405.21060): one input projection for gate, channels and time steps."""
    heads = fields.integer("mamba_n_heads", "mamba_num_heads")
    inner = _mamba2_width(fields, hidden, heads)
    state_dim = fields.integer("mamba_d_state", "ssm_state_size")
    kernel = fields.integer("mamba_d_conv", "conv_kernel", default=4)
    channels = inner + 2 * fields.integer("mamba_n_groups", "n_groups", default=1) * state_dim
    conv_bias = fields.boolean("mamba_conv_bias", "use_conv_bias", default=True)
    bias = fields.boolean("mamba_proj_bias", "use_bias", default=False)
    normed = fields.boolean("mamba_rms_norm", default=not fields.has("mamba_d_ssm"))
    step = inner + channels + heads
    return _state(
        "mamba2",
        heads,
        {"in_proj": hidden * step, "out_proj": inner * hidden},
        small=channels * (kernel + conv_bias) + 3 * heads + inner * normed + (step + hidden) * bias,
        state=inner * state_dim + channels * (kernel - 1),
    )


def _mamba2_width(fields: Fields, hidden: int, heads: int) -> int:
    """Return the inner width: given, or heads of a given width, or as many times the hidden."""
    expand = fields.raw("mamba_expand", "expand")
    if fields.has("mamba_d_ssm"):
        fields.skip("mamba_d_head")
        return fields.integer("mamba_d_ssm")
    given = fields.raw("mamba_d_head", "mamba_head_dim")
    if given is not None and given != "auto":
        return heads * fields.integer("mamba_d_head", "mamba_head_dim")
    if expand is None:
        raise fields.bad("mamba_d_head", "is missing")
    return fields.integer("mamba_expand", "expand") * hidden


def mamba(fields: Fields, hidden: int) -> FixedState:
    """Mamba (arXiv 2312.00752) as in Jamba, with norms of the time step and of B and C."""
    inner = fields.integer("mamba_expand") * hidden
    state_dim = fields.integer("mamba_d_state")
    kernel = fields.integer("mamba_d_conv")
    rank = -(-hidden // 16)
    if fields.raw("mamba_dt_rank") not in (None, "auto"):
        rank = fields.integer("mamba_dt_rank")
    conv_bias = fields.boolean("mamba_conv_bias", default=True)
    bias = fields.boolean("mamba_proj_bias", default=False)
    return _state(
        "mamba",
        inner,
        {
            "in_proj": 2 * hidden * inner,
            "x_proj": inner * (rank + 2 * state_dim),
            "dt_proj": rank * inner,
            "out_proj": inner * hidden,
        },
        small=inner * (kernel + conv_bias + state_dim + 2)
        + rank
        + 2 * state_dim
        + (2 * inner + hidden) * bias,
        state=inner * (state_dim + kernel - 1),
    )


def convolution(fields: Fields, hidden: int) -> FixedState:
    """A gated short convolution (LFM2): three parts in, one out."""
    kernel = fields.integer("conv_L_cache", default=3)
    bias = fields.boolean("conv_bias", default=False)
    return _state(
        "convolution",
        hidden,
        {"in_proj": 3 * hidden * hidden, "out_proj": hidden * hidden},
        small=hidden * kernel + 5 * hidden * bias,
        state=hidden * (kernel - 1),
    )


def short_convolutions(channels: int, kernel: int) -> FixedState:
    """Convolutions of a few taps beside other parts of a layer (Inkling)."""
    return _state(
        "convolution", channels, {}, small=channels * kernel, state=channels * (kernel - 1)
    )


def relative_positions(fields: Fields, hidden: int, attention: GroupedQueryAttention) -> FixedState:
    """Inkling's relative positions: a few numbers a head, and a table as far as a query reaches."""
    each = fields.integer("d_rel", default=16)
    extent = fields.integer("rel_extent", default=1024)
    table = each * (attention.window or extent)
    return _state(
        "convolution",
        attention.heads,
        {"r_proj": hidden * attention.heads * each},
        small=table,
        state=0,
    )


STATES: dict[str, Callable[[Fields, int], FixedState]] = {
    "gated-delta": gated_delta,
    "kimi-delta": kimi_delta,
    "lightning": lightning,
    "mamba": mamba,
    "mamba2": mamba2,
    "convolution": convolution,
}


def _state(
    kind: StateKind, heads: int, matrices: dict[str, int], *, small: int, state: int
) -> FixedState:
    return FixedState(
        kind=kind,
        heads=heads,
        projections=tuple(matrices.items()),
        small=small,
        state_elements=state,
    )
