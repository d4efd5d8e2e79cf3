"""What holds for all tests that need no engine."""

from hypothesis import settings

# The same examples each time, and no file that keeps them: a run that fails can be repeated.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")
