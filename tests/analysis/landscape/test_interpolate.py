"""Points between measured ones along a knob, however a table writes it."""

import pandas as pd

from analysis.landscape.interpolate import interpolated, parse_knob


def test_a_technique_of_the_run_table_has_its_knobs_after_colons() -> None:
    frame = pd.DataFrame(
        {
            "technique": [
                "expert-offload:resident=2:cache=lru",
                "expert-offload:resident=4:cache=lru",
            ],
            "device_memory_bytes": [10.0, 20.0],
        }
    )
    made = interpolated(frame, parse_knob("resident=3")).iloc[-1]
    assert made["technique"] == "expert-offload:resident=3:cache=lru"
    assert made["device_memory_bytes"] == 15.0
