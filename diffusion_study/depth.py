"""The operations of a published model's forward pass, counted on a narrow one of the same depth.

How many operations a pass hands to the device depends on layers and experts, not on their widths.
Where the launch of an operation costs more than its work, as in Python on a large GPU, the count is
the time: table VII of the parallelism paper has 40.6 ms (dense) and 399 ms (MoE) a pass, 9.8 times
as much.
"""

import msgspec

from catalog.models import GroupedQueryAttention, Model
from diffusion_study.measure import operations_of_pass
from servers.huggingface.diffusion.backbone import Backbone
from servers.huggingface.diffusion.experts import use
from servers.huggingface.diffusion.options import ExpertsImplementation
from servers.huggingface.diffusion.seeded import build

DENSE, MOE = "LLaDA-8B", "LLaDA-MoE-7B"
PUBLISHED_RATIO = 9.8
PROMPT, LENGTH = 32, 128
HIDDEN, HEADS, WIDTH, VOCAB = 64, 2, 16, 128


def narrow(model: Model) -> Model:
    """Return the model with as many layers and experts, each as small as can be."""
    attention = model.attention
    assert isinstance(attention, GroupedQueryAttention)
    return msgspec.structs.replace(
        model,
        hidden=HIDDEN,
        vocab=VOCAB,
        attention=msgspec.structs.replace(
            attention, heads=HEADS, kv_heads=HEADS, head_dim=HIDDEN // HEADS
        ),
        experts=model.experts and msgspec.structs.replace(model.experts, width=WIDTH),
        dense_width=WIDTH,
        weight_dtype="float32",
    )


def operations_at_depth(
    model: Model, experts: tuple[ExpertsImplementation, ...]
) -> dict[ExpertsImplementation, int]:
    """Count a whole pass's operations for each way to compute experts."""
    backbone = Backbone(build(narrow(model)), VOCAB - 1)
    found = {}
    for each in experts:
        use(backbone.model.config, each)
        found[each] = operations_of_pass(backbone, [1] * PROMPT, LENGTH)
    return found
