"""An experiment from its plan to its results: servers started, measured, judged, recorded."""
