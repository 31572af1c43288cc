"""Coverage by package, of lines and of branches, from coverage.py's data.

    python benchmarks/tests/by_package.py .coverage

prints the shares of statements and of branches that the tests ran. Needs coverage.py.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

RULES = Path(__file__).with_name("coverage.ini")
PAIRS = (("covered_lines", "num_statements"), ("covered_branches", "num_branches"))


def counted(data: Path) -> dict[str, dict[str, int]]:
    """Return coverage.py's summary of each file."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["json", "-q", "-i", f"--rcfile={RULES}", f"--data-file={data}", "-o", str(report)]
        subprocess.run([sys.executable, "-m", "coverage", *words], check=True, capture_output=True)
        files = json.loads(report.read_text())["files"]
    return {name: each["summary"] for name, each in files.items() if not Path(name).is_absolute()}


def main() -> None:
    sums: dict[str, Counter[str]] = {}
    for name, summary in counted(Path(sys.argv[1])).items():
        for package in (name.split("/")[0], "all"):
            sums.setdefault(package, Counter()).update(
                {name: summary[name] for pair in PAIRS for name in pair}
            )
    for package in sorted(sums, key=lambda name: (name == "all", name)):
        shares = (sums[package][part] / (sums[package][whole] or 1) for part, whole in PAIRS)
        print(f"{package:18}" + "".join(f"{share:8.1%}" for share in shares))


if __name__ == "__main__":
    main()
