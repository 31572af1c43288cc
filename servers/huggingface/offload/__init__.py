"""Experts in host memory, the most useful ones resident on the device within a budget.

The ideas are Mixtral-Offloading's (an LRU cache and next-layer prefetch, arXiv 2312.17238),
Fiddler's (compute on the host where that is quicker than moving, arXiv 2402.07033) and
MoE-Infinity's (keep what is activated most, arXiv 2401.14361); the implementation is our own.
"""
