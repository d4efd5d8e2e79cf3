"""Settings for all tests that need no engine."""

from hypothesis import settings

# The same examples each time, and no database of them, so a failure can be repeated anywhere.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")
