"""How many examples the fuzzers try: the same few in the suite, many other ones by `make fuzz`."""

from hypothesis import HealthCheck, Phase, Verbosity, settings

# Times as many as in the suite, for each random seed of `make fuzz`.
_LONGER = 5

# An example can take a second: it calls services, whose state matters more than hypothesis's.
_COMMON = settings(
    deadline=None,
    database=None,
    print_blob=False,
    report_multiple_bugs=False,
    verbosity=Verbosity.quiet,  # a case has the input, which can be megabytes
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("fuzz_suite", _COMMON, derandomize=True)
settings.register_profile("fuzz", _COMMON, derandomize=False)


def are_long() -> bool:
    """Whether the fuzzers run for hours, and not in the suite."""
    return settings.get_current_profile_name() == "fuzz"


def examples(count: int) -> settings:
    """Return the settings of a test that tries `count` examples in the suite."""
    is_long = are_long()
    parent = settings.get_profile("fuzz" if is_long else "fuzz_suite")
    return settings(
        parent,
        max_examples=count * _LONGER if is_long else count,
        # Making a finding smaller takes minutes, and a test of the suite may not.
        phases=[Phase.generate, Phase.shrink] if is_long else [Phase.generate],
    )


def with_steps(given: settings, count: int) -> settings:
    """Return the settings of a state machine that takes up to `count` steps."""
    return settings(given, stateful_step_count=count)
