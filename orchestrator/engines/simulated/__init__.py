"""The simulated engine: batching and step times of the analytic model, in virtual time."""
