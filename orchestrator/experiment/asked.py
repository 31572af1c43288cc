"""The workloads of an experiment, as one of its models takes them."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from catalog.errors import BadValue, MissingExtra, UnknownName
from catalog.model_table import find_model
from catalog.models import Model
from catalog.reader.file import cached_config
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.recorded import with_own_rate
from servers import tiny_checkpoint as tiny
from workloads.figures.goodput import ALLOWED, NAMES, classes_of, limits_of
from workloads.load.build import has_prompts
from workloads.load.files.entries import read_entries
from workloads.load.files.open import bad_line
from workloads.load.files.tokenizer import FILE
from workloads.load.profiles import TEXTS, parse_workload
from workloads.load.workload import PromptFile, Workload


def workloads_of(experiment: Experiment, model: str) -> tuple[Workload, ...]:
    """Read the workloads asked for; prompts of text are in the tokens of the model's tokenizer.

    Where that is not at hand they stay text, and their lengths are not known.
    """
    texts = experiment.workloads
    folder = tokenizer_folder(experiment, model) if _any_prompts(texts) else None
    found = {each.name: each for each in (parse_workload(text, folder) for text in texts)}
    return tuple(with_own_rate(each, experiment.num_prompts) for each in found.values())


def longest_of(experiment: Experiment, model: str) -> int:
    """Return the tokens of the longest sequence of any workload whose lengths are known."""
    return max(workload.longest_tokens for workload in workloads_of(experiment, model))


def _any_prompts(texts: Sequence[str]) -> bool:
    return any(has_prompts(text, TEXTS) for text in texts)


def tokenizer_folder(experiment: Experiment, model: str) -> Path | None:
    """Return the folder of a model's tokenizer: its own, or in the hub's cache; None without."""
    for folder in _folders(experiment, model):
        if (folder / FILE).is_file():
            return folder
    return None


def _folders(experiment: Experiment, model: str) -> list[Path]:
    if model in tiny.NAMES:
        with contextlib.suppress(MissingExtra):
            return [tiny.checkpoint(model)]
        return []
    found = [Path(text) for text in experiment.models if Path(text).is_dir()]
    folders = [path for path in found if path.resolve().name == model or len(found) == 1]
    row = find_model(model)
    names = dict.fromkeys((model, row.hf_id if row and row.hf_id else model))
    cached = [cached_config(name) for name in names if "/" in name]
    return [*folders, *(config.parent for config in cached if config is not None)]


def refuse_unknown_ids(experiment: Experiment, model: Model) -> None:
    """Refuse a file's token ids that are not in the model's vocabulary."""
    for workload in workloads_of(experiment, model.name):
        for part in workload.parts:
            if not isinstance(part.source, PromptFile):
                continue
            for entry in read_entries(part.source):
                largest = int(entry.prompt.max()) if isinstance(entry.prompt, np.ndarray) else 0
                if largest >= model.vocab:
                    told = f"{largest} is none of the {model.vocab} tokens of {model.name}"
                    raise bad_line(part.source.path, entry.line, "prompt_token_ids", told)


def check_goodput(experiment: Experiment, model: str) -> None:
    """Refuse limits of a class that no workload has, and workloads that no limit is of."""
    slos = experiment.goodput
    for name in slos:
        if name.rpartition(".")[2] not in NAMES:
            raise BadValue("goodput", name, ALLOWED)
    if not slos and experiment.attainment != Experiment().attainment:
        raise BadValue("attainment", experiment.attainment, "with goodput: it does nothing else")
    workloads = workloads_of(experiment, model)
    labels = [[part.label for part in each.parts] or [""] for each in workloads]
    _refuse_unknown_class(slos, [label for of in labels for label in of if label])
    for workload, of in zip(workloads, labels, strict=True):
        if slos and not any(limits_of(label, slos) for label in of):
            raise BadValue("goodput", dict(slos), f"a limit that is of {workload.name}")


def _refuse_unknown_class(slos: Mapping[str, float], known: Sequence[str]) -> None:
    for part in classes_of(slos):
        if not known:
            told = "limits of all requests (ttft:200): no workload here has classes"
            raise BadValue("goodput", f"a limit of {part}", told)
        if part not in known:
            raise UnknownName("class in --goodput", part, known, hint="It is one of a mix.")


def refuse_uncounted(experiment: Experiment, model: str, engine: str) -> None:
    """Refuse workloads of text whose tokens nobody has counted, where lengths must be known."""
    for workload in workloads_of(experiment, model):
        if workload.known_input_len is None:
            way = (
                f"prompts whose tokens are known, with {engine}: prompt_token_ids, or a tokenizer "
                "beside the model's weights or as ,tokenizer=FOLDER"
            )
            raise BadValue("workload", workload.name, way)
