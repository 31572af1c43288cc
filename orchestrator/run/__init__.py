"""A plan run in order: each server started, its runs judged and recorded, failures survived."""
