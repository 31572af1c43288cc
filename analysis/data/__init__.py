"""The runs as a frame: read, checked, chosen, paired."""
