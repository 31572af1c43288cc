"""`python -m moeserve`."""

from moeserve.cli import main

main()
