"""The usual decoder: one token after the other, greedily, with transformers' own KV cache."""

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.errors import BadFile, BadValue, MissingExtra
from servers import tiny_checkpoint as tiny
from servers.http.routed_experts import FIELD
from servers.huggingface.decoder import CompletionRequest, Passes, TokenChunk
from servers.huggingface.decoder_registry import Loaded
from servers.huggingface.pruning import options as pruning
from servers.huggingface.routing import FLAG, RoutingRecorder
from servers.huggingface.scoring import TokenLogprobs, prompt_logprobs
from servers.huggingface.text import TextCodec, load_text


@dataclass(slots=True)
class CausalDecoder:
    """Greedy decoding of a causal language model; `model` is one of transformers'."""

    model: Any
    eos: frozenset[int]
    max_batch: int = 1
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    recorder: RoutingRecorder | None = None
    """Notes the routed experts, where they are to be returned."""
    _passes: int = 0

    @property
    def vocab(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def max_context(self) -> int:
        return int(self.model.config.max_position_embeddings)

    @property
    def device(self) -> Any:
        """Where prompts are to be."""
        return self.model.device

    def check(self, request: CompletionRequest) -> None:
        """The server's own checks are enough."""

    def counters(self) -> Mapping[str, float]:
        return {"forward_passes": self._passes}

    def score(self, prompt: Sequence[int], top: int) -> list[TokenLogprobs]:
        import torch

        given = torch.tensor([list(prompt)], device=self.device)
        with torch.inference_mode():
            logits = self.model(given, use_cache=False).logits[0]
        self._passes += 1
        return prompt_logprobs(logits, prompt, top)

    def decode(self, batch: Sequence[CompletionRequest]) -> Passes:
        noting = self.recorder.noting(len(batch)) if self.recorder else contextlib.nullcontext()
        with noting:
            yield from self._decode(batch)

    def _decode(self, batch: Sequence[CompletionRequest]) -> Passes:
        import torch

        given = torch.tensor([request.prompt for request in batch], device=self.device)
        cache = None
        for left in reversed(range(batch[0].max_tokens)):
            with torch.inference_mode():
                out = self.model(given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self._passes += 1
            cache, given = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
            yield tuple(
                TokenChunk(row, (token,), self._extras(row, last=not left or token in self.eos))
                for row, (token,) in enumerate(given.tolist())
            )

    def _extras(self, row: int, *, last: bool) -> Mapping[str, str]:
        return {FIELD: self.recorder.encoded(row)} if self.recorder and last else {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-batch", type=int, default=1)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1; auto takes a GPU")
    parser.add_argument("--dtype", default="auto", help="of the weights; auto is the checkpoint's")
    parser.add_argument(FLAG, dest="routed_experts", action="store_true")
    pruning.add_arguments(parser)


def load(args: argparse.Namespace) -> Loaded:
    folder = checkpoint_folder(args.model)
    text = load_text(folder)
    model, pruned = model_in_host_memory(folder, text, args)
    model = model.to(device_of(args.device))
    details: dict[str, str | int | float] = {
        "decoder": "causal",
        "device": str(model.device),
        "dtype": str(model.dtype),
        "device_memory_bytes": sum(parameter.nbytes for parameter in model.parameters()),
        **pruned,
    }
    decoder = CausalDecoder(
        model, eos_of(model.config), args.max_batch, details, recorder_of(model, args)
    )
    return Loaded(decoder, text)


def model_in_host_memory(
    folder: Path | str, text: TextCodec, args: argparse.Namespace
) -> tuple[Any, Mapping[str, str | int | float]]:
    """Read a checkpoint and prune it where that is asked; return it with what was left out."""
    options = pruning.parsed(args)
    from transformers import AutoConfig, AutoModelForCausalLM

    if options and getattr(AutoConfig.from_pretrained(str(folder)), "quantization_config", None):
        allowed = "a checkpoint in full precision: this one is quantised already"
        raise BadValue("technique prune-experts or prune-width", args.model, allowed)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=args.dtype).eval()
    if options is None:
        return model, {}
    from servers.huggingface.pruning.install import prune

    return model, prune(model, options, text)


def recorder_of(model: Any, args: argparse.Namespace) -> RoutingRecorder | None:
    """Listen to the model's routers where their choices are to be returned."""
    return RoutingRecorder(model) if args.routed_experts else None


def checkpoint_folder(name: str) -> Path | str:
    """Return where transformers finds a model: a directory, a tiny checkpoint's, or a hub id."""
    quiet_transformers()
    if name in tiny.NAMES:
        return tiny.checkpoint(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")):
        raise BadFile(name, "no such directory")
    return name


def require_transformers() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtra("the transformers server", "hf")


def quiet_transformers() -> None:
    """Keep progress bars and advice about other people's configurations out of the log."""
    require_transformers()
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def device_of(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    usable = ["cpu", "cuda"][: 1 + torch.cuda.is_available()]
    usable += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name not in usable:
        raise BadValue("--device", name, "auto, " + ", ".join(usable))
    return name


def eos_of(config: Any) -> frozenset[int]:
    """Read a configuration's end tokens, which may be one, several or none."""
    given = getattr(config, "eos_token_id", None)
    if given is None:
        return frozenset()
    return frozenset(given if isinstance(given, list) else [given])
