"""What the numbers say: run tables in, tables, intervals, tests, plots and a report out.

Functions return data; the command line only shows it. Start at `analysis.frame.load`.
"""
