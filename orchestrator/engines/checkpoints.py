"""Which weights a server loads: a directory, a tiny checkpoint of our own, or a hub id."""

from pathlib import Path

from catalog.kept import find_kept
from catalog.model_table import find_model
from catalog.models import Model
from orchestrator.engine import LaunchContext
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from servers import tiny_checkpoint as tiny
from strategies.technique import Technique

UNCHANGED = Technique()


def weights(experiment: Experiment, model: Model, technique: Technique = UNCHANGED) -> str:
    """Return what is to be loaded: a directory given, a tiny checkpoint's, or a hub id."""
    if technique.checkpoint:
        path = Path(technique.checkpoint)
        named = technique.checkpoint
        return str(tiny.folder_of(named)) if named in tiny.NAMES else str(_folder(path))
    if model.name in tiny.NAMES:
        return str(tiny.folder_of(model.name))
    for text in experiment.models:
        path = Path(text)
        if path.exists() and path.resolve().name in (model.name, "config.json"):
            return str(_folder(path))
        # One architecture has several checkpoints: the one that was named is the one to load.
        if "/" in text and _names(text, model):
            return text
    return model.hf_id or model.name


def make_weights(group: ServerGroup, context: LaunchContext) -> None:
    """Make the tiny checkpoints that a group is served from, where they are not there yet."""
    checkpoint = group.setup.technique.checkpoint
    for name in (context.model.name, checkpoint):
        if name in tiny.NAMES:
            tiny.checkpoint(name)


def _names(text: str, model: Model) -> bool:
    """Return whether this is a name that the catalog has for the model."""
    kept = find_kept(text)
    return find_model(text) == model or (kept is not None and kept.name == model.name)


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path
