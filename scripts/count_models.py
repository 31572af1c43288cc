"""Write into catalog/data/models what the reader makes of each configuration kept there.

    python scripts/count_models.py          after a change of the data or of the reader

Lists of models show these counts, since to read every configuration takes seconds.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from catalog.counts import counts_of
from catalog.errors import NotCounted
from catalog.from_hf import model_from_config
from catalog.reader.file import ConfigFile
from catalog.reader.notes import uncounted

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "catalog" / "data" / "models"
IN_A_LINE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def counted(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the counts that follow from its configuration."""
    config, beside, name = entry["config"], entry.get("hf_quant_config"), entry["name"]
    try:
        model = model_from_config(config, name=name, beside=beside)
    except NotCounted as error:
        model = uncounted(ConfigFile(config, name, name, beside), error)
    counts = msgspec.to_builtins(counts_of(model))
    order = ("name", "hf_id", "aliases", "source", "counts", "config", "hf_quant_config")
    filled = {**entry, "counts": {key: each for key, each in counts.items() if each is not None}}
    return {key: filled[key] for key in order if key in filled}


def main() -> None:
    for path in sorted(MODELS.glob("*.json")):
        entries = [counted(entry) for entry in json.loads(path.read_text())]
        lines = (
            ",\n".join(f"{json.dumps(key)}: {IN_A_LINE(value)}" for key, value in entry.items())
            for entry in entries
        )
        path.write_text("[\n" + ",\n".join(f"{{\n{text}\n}}" for text in lines) + "\n]\n")


if __name__ == "__main__":
    main()
