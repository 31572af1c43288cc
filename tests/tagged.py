"""What the servers of one test left, told from those of tests beside it."""

import uuid

import psutil


class Tagged:
    """Processes of the servers of one test, found by a variable that only they have."""

    def __init__(self) -> None:
        self.value = uuid.uuid4().hex
        self.flags = ("--server-env", f"MOESERVE_TEST_TAG={self.value}")

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MOESERVE_TEST_TAG") == self.value:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found
