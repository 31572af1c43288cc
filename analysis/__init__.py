"""What the numbers say: run tables in, tables, intervals, tests, figures and a report out.

Functions return data; the command line only shows it. Start at `analysis.data.frame.load`.
"""
