"""Tiny Mixtrals that have learned something, so that a technique can lose it.

    python -m servers.huggingface.learned NAME DIRECTORY

`tiny-mixtral-learned` has the shape of `tiny-mixtral` and has read Python's help topics for a
minute; `tiny-mixtral-distilled` keeps half of its experts, the most used, and then learns the
teacher's own probabilities of the same texts: distillation as «Distilling the Knowledge in a Neural
Network» (arXiv 1503.02531) has it, at temperature 1. Weights differ a little by Python's and
torch's versions, and are made once.
"""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.models import Model
from servers import tiny_checkpoint as tiny
from servers.huggingface.corpus import help_topics

if TYPE_CHECKING:
    from torch import Tensor

TEACHER, STUDENT = tiny.LEARNED
SPREAD = 0.05
"""Standard deviation of the weights at the start: with 0.3 nothing is learned."""
STEPS, STUDENT_STEPS = 150, 100
BATCH, LENGTH = 16, 128
RATE, BALANCE = 4e-3, 0.02
"""Peak rate of learning; weight of the loss that evens out the experts, Mixtral's own."""
LARGEST_GRADIENT = 1.0


def make(model: Model, folder: Path) -> None:
    """Write configuration, weights and tokenizer of either, on one core: more are no quicker."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(tiny.SEED)
    tokenizer = tiny.tokenizer(model.vocab)
    ids = torch.tensor(tokenizer(help_topics(), add_special_tokens=False)["input_ids"])
    learned = teacher(model, ids) if model.name == TEACHER else student(model, tokenizer, ids)
    learned.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def teacher(model: Model, ids: "Tensor") -> Any:
    """Train a model from nothing on the text's next tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny.config_of(model, initializer_range=SPREAD)
    config.output_router_logits, config.router_aux_loss_coef = True, BALANCE
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    train(made, windows(ids, STEPS), lambda each: made(each, labels=each).loss)
    made.config.output_router_logits = False
    return made


def student(model: Model, tokenizer: Any, ids: "Tensor") -> Any:
    """Take experts out of the teacher, then bring what is left closer to its probabilities."""
    import torch
    from torch.nn.functional import kl_div
    from transformers import AutoModelForCausalLM

    from servers.huggingface.pruning.install import prune
    from servers.huggingface.pruning.options import PruneOptions
    from servers.huggingface.text import TextCodec

    assert model.experts is not None
    whole = AutoModelForCausalLM.from_pretrained(tiny.checkpoint(TEACHER)).eval()
    made = copy.deepcopy(whole)
    share = 1 - model.experts.count / whole.config.num_local_experts
    prune(made, PruneOptions(experts=share), TextCodec(tokenizer))
    made.config.num_local_experts = model.experts.count

    def loss(each: "Tensor") -> "Tensor":
        with torch.inference_mode():
            wanted = whole(each).logits.log_softmax(-1)
        found = made(each).logits.log_softmax(-1)
        return kl_div(found.flatten(0, 1), wanted.flatten(0, 1).clone(), reduction="batchmean",
                      log_target=True)  # fmt: skip

    train(made.requires_grad_(), windows(ids, STUDENT_STEPS), loss)
    return made


def windows(ids: "Tensor", steps: int) -> "Iterator[Tensor]":
    """Yield a batch (B, L) of random stretches of the text for each step."""
    import torch

    generator = torch.Generator().manual_seed(tiny.SEED)
    for _ in range(steps):
        starts = torch.randint(len(ids) - LENGTH, (BATCH,), generator=generator).tolist()
        yield torch.stack([ids[start : start + LENGTH] for start in starts])


def train(model: Any, batches: "Iterator[Tensor]", loss_of: Any) -> None:
    """One step of AdamW a batch, the rate falling linearly to nothing."""
    import torch

    every = list(batches)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=len(every))
    for each in every:
        adam.zero_grad()
        loss_of(each).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        adam.step()
        falling.step()
    model.eval()


if __name__ == "__main__":
    from catalog.model_table import MODELS

    make(MODELS[sys.argv[1]], Path(sys.argv[2]))
