"""The table of defaults against the configuration classes it was taken from."""

import dataclasses
from typing import Any

import pytest

from catalog.reader.class_defaults import class_defaults, known_classes

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def defaults_of(model_type: str) -> dict[str, Any]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    found = {}
    for field in dataclasses.fields(CONFIG_MAPPING[model_type]):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = list(default) if isinstance(default, tuple) else default
    return found


def test_every_default_is_that_of_its_class() -> None:
    pytest.importorskip("transformers", reason="its classes have the defaults")
    for model_type in known_classes():
        right = defaults_of(model_type)
        told = class_defaults(model_type)
        assert told == {key: right[key] for key in told}, model_type
