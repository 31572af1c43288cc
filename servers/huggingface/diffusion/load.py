"""A diffusion model ready to decode, from a name, a directory or a hub id."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadFile, BadValue
from catalog.named_file import read_named
from servers.huggingface.causal import device_of, eos_of, quiet_transformers
from servers.huggingface.decoder_registry import Loaded
from servers.huggingface.diffusion import seeded
from servers.huggingface.diffusion.backbone import Backbone
from servers.huggingface.diffusion.decoder import DiffusionDecoder
from servers.huggingface.diffusion.experts import use
from servers.huggingface.diffusion.options import (
    NO_EXPERTS,
    DiffusionOptions,
    add_arguments,
    options_of,
)
from servers.huggingface.diffusion.published import MASK_IDS, TransformersModel, kind_of, native
from servers.huggingface.text import load_text

__all__ = ["add_arguments", "load"]

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSource:
    """Where a checkpoint is, and how far it is trusted."""

    name: str
    revision: str | None = None
    remote_code: bool = False

    def __post_init__(self) -> None:
        if self.remote_code and not (self.revision and COMMIT.fullmatch(self.revision)):
            allowed = "the 40 hex digits of the commit whose code you have read: --revision"
            raise BadValue("--trust-remote-code", self.revision, allowed)

    @property
    def folder(self) -> Path | None:
        """The directory of a local checkpoint, made if it is one of ours; None for a hub id."""
        if self.name in seeded.NAMES:
            return seeded.checkpoint(self.name)
        path = Path(self.name).expanduser()
        return path if path.is_dir() else None


def load(args: argparse.Namespace) -> Loaded:
    """Load what the server's command line names."""
    source = CheckpointSource(
        name=args.model, revision=args.revision, remote_code=args.trust_remote_code
    )
    decoder = load_decoder(
        source,
        options_of(args),
        device=args.device,
        dtype=args.dtype,
        max_batch=args.max_batch,
    )
    return Loaded(decoder, load_text(source.folder or source.name, revision=source.revision))


def load_decoder(
    source: CheckpointSource,
    options: DiffusionOptions,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_batch: int = 1,
) -> DiffusionDecoder:
    quiet_transformers()
    config = read_config(source)
    backbone = (
        _remote(source, options, config, device_of(device), dtype)
        if source.remote_code
        else _native(source, native(config, where=source.name), device_of(device), dtype)
    )
    use(backbone.model.config, options.experts)
    model = backbone.model
    context = config.get("max_sequence_length") or config.get("max_position_embeddings")
    return DiffusionDecoder(
        backbone,
        options,
        max_context=int(context or 0),
        eos=eos_of(model.config),
        max_batch=max_batch,
        details=_details(options, model),
    )


def _details(options: DiffusionOptions, model: Any) -> dict[str, str | int | float]:
    above = {} if options.commit_above is None else {"commit_above": options.commit_above}
    return {
        "decoder": "diffusion",
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "diffusion_steps": options.steps,
        "block_length": options.block_length,
        "experts_implementation": options.experts if _has_experts(model) else NO_EXPERTS,
        "kv_cache": options.kv_cache,
        **above,
    }


def _has_experts(model: Any) -> bool:
    return bool(getattr(model.config, "num_experts", 0))


def read_config(source: CheckpointSource) -> Mapping[str, Any]:
    """Read the published configuration, from disk or from the hub's cache or the hub."""
    folder = source.folder
    if folder is None:
        from transformers.utils import cached_file

        try:
            path = Path(cached_file(source.name, "config.json", revision=source.revision))
        except OSError as error:
            raise BadFile(source.name, " ".join(str(error).split())) from error
    else:
        path = folder / "config.json"
    try:
        return msgspec.json.decode(read_named(path), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadFile(path, f"cannot be read: {error}") from error


def _native(
    source: CheckpointSource, wanted: TransformersModel, device: str, dtype: str
) -> Backbone:
    import transformers
    from safetensors import SafetensorError

    config = getattr(transformers, wanted.config_class)(**wanted.config)
    try:
        model, report = getattr(transformers, wanted.model_class).from_pretrained(
            str(source.folder or source.name),
            config=config,
            revision=source.revision or "main",
            dtype=dtype,
            key_mapping=dict(wanted.renaming),
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadFile(source.name, " ".join(str(error).split())) from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(problem):
            named = ", ".join(sorted(map(str, report[problem]))[:3])
            raise BadFile(source.name, f"its weights do not fit its configuration: {named} …")
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    return Backbone(model.to(device).eval(), wanted.mask_id)


def _remote(
    source: CheckpointSource,
    options: DiffusionOptions,
    config: Mapping[str, Any],
    device: str,
    dtype: str,
) -> Backbone:
    """Load a model with its publisher's own code, which the user has allowed."""
    from transformers import AutoModel

    if options.kv_cache != "none":
        raise BadValue("--kv-cache", options.kv_cache, "none with --trust-remote-code")
    if options.experts != "loop":
        raise BadValue("--experts", options.experts, "loop with --trust-remote-code")
    mask = config.get("mask_token_id", MASK_IDS.get(kind_of(config) or ""))
    if mask is None:
        raise BadFile(source.name, "its configuration names no mask_token_id")
    model = AutoModel.from_pretrained(
        source.name,
        revision=source.revision,
        code_revision=source.revision,
        trust_remote_code=True,
        dtype=dtype,
    )
    return Backbone(model.to(device).eval(), int(mask), cacheable=False)
