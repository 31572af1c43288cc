"""What is kept: one record a run, published once, in a results directory."""
