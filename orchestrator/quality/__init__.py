"""How well each configuration of an experiment predicts text, kept beside its runs."""
