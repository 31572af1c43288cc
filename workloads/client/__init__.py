"""The load generator: sends what is due, and watches itself."""
