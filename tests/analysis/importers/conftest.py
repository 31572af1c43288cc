"""Files of other tools, written as they write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.importers import Labels, import_files


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write one object, several as lines, or text; return the file."""

    def write(content: Any, name: str = "v.json") -> Any:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "\n".join(map(json.dumps, content))
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def imported(tmp_path: Path, written: Any) -> Any:
    """Records of what is written and imported into a directory of its own."""

    def read(content: Any, name: str = "v.json", **labels: Any) -> Any:
        return import_files([written(content, name)], tmp_path / "out", Labels(**labels)).records

    return read
