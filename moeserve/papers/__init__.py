"""The four papers, item by item: the command that shows each, and whether it agrees.

`items.yaml` is the whole list. What it says of a quick item is computed anew by `check`, never
taken on trust.
"""
