"""Settings for all tests."""

from hypothesis import settings

# A shared machine may stop a test for a while: time belongs to benchmarks, not to properties.
settings.register_profile("moeserve", deadline=None, print_blob=True)
settings.load_profile("moeserve")
