"""Checks that several engines share: layouts, lengths, and memory against a known GPU."""

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import (
    loaded_model,
    memory_violations,
    stored_model,
    variant_violations,
)
from orchestrator.experiment.offloaded_model import Offloading, offloading
from orchestrator.experiment.server_dtypes import requested_model
from strategies import Layout
from strategies.feasible import layout_violations

TOKEN_BY_TOKEN = "a model that decodes token by token; --engine diffusion serves this one"  # noqa: S105


def check_kind(model: Model) -> None:
    """Raise BadValue for a model whose answers are not priced token by token."""
    if model.kind != "autoregressive":
        raise BadValue("--model", model.name, TOKEN_BY_TOKEN)


def violations(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    """Say why a setup cannot serve a model: its layout, then its memory for the longest sequence.

    What the server's arguments ask of data types is taken into account.
    """
    held = requested_model(setup.technique, loaded_model(setup, model), setup.server_args)
    return fits(setup, model, longest, held)


def fits(
    setup: Setup,
    model: Model,
    longest: int,
    held: Model | None,
    spare: Offloading = offloading,
) -> tuple[str, ...]:
    """Say why a setup cannot serve a model whose weights are held as `held` on a GPU we know.

    None as `held` leaves memory unchecked: the bytes are not known. `spare` takes out of the
    budget what the technique keeps in host memory.
    """
    if setup.layout is None or setup.endpoint:
        return ()
    layout = (
        *variant_violations(setup, model),
        *layout_violations(setup.layout, stored_model(setup, model)),
    )
    gpu = setup.gpu
    if held is None or not held.sized or gpu is None or setup.hardware == "CPU":
        return layout
    return (*layout, *memory_violations(setup, held, gpu, longest, spare))


def missing_link(setup: Setup) -> str:
    """Say which link between a setup's GPUs nobody has told the bandwidth of; empty if none."""
    layout, gpu = setup.layout, setup.gpu
    if layout is None or gpu is None or layout.num_gpus == 1:
        return ""
    try:
        gpu.link(2)
        gpu.link(layout.num_gpus)
    except BadValue as error:
        return str(error)
    return ""


def one_device(layout: Layout | None, engine: str) -> tuple[str, ...]:
    """Say why a layout over several GPUs is not served."""
    if layout is None or layout.num_gpus == 1:
        return ()
    return (f"the {engine} engine serves on one device, {layout.name} needs {layout.num_gpus}",)
