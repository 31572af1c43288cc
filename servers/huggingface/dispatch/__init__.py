"""Offloading as accelerate does it: whole layers in host memory or on disk, brought in to run.

What `device_map="auto"` does of itself, and so «PyTorch's default offloading» of the design-space
paper: it knows nothing of experts and moves all of a layer for every pass.
"""
