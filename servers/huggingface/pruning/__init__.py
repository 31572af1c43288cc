"""Experts and their width left out of a loaded model.

`options` says how much goes and by what; `calibration` counts how experts are used on a text;
`install` cuts the model before it is quantised, offloaded or moved to its device.
"""
