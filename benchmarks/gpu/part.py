"""One part in a process of its own: `part.py MODULE DEVICE small|whole FILE`.

Each table, or the next rows of one, is a line of the file as soon as it is measured: what a part
had when its time was up is not lost.
"""

import importlib
import signal
import sys

from clock import Setting


def main(arguments: list[str]) -> None:
    # Told to end, it unwinds: what it started is ended by those who started it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    module, device, size, path = arguments
    measure = importlib.import_module(module).measure
    with open(path, "w", buffering=1) as file:  # noqa: PTH123
        for table in measure(Setting(device, size == "small")):
            file.write(table.as_json() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
