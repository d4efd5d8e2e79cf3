"""The names of all settings. A name that is not among them is mistyped, and has no effect.

`scripts/compose` reads the names in this file too, because compose passes on only those it knows.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

PREFIX = "CYBER_DOJO_"

# Of the services, in the order of docs/running.md.
_OF_SERVICES = """
    CYBER_DOJO_NAMESPACE CYBER_DOJO_VOLUME_ROOT CYBER_DOJO_LOG_LEVEL
    CYBER_DOJO_STORER_LISTEN CYBER_DOJO_KATAS_DIRECTORY CYBER_DOJO_KATAS_DIRECTORY_MODE
    CYBER_DOJO_START_POINTS CYBER_DOJO_ARCHIVE CYBER_DOJO_ARCHIVE_AFTER_SECONDS
    CYBER_DOJO_MAX_DATA_CONTAINERS CYBER_DOJO_ARCHIVE_BUILD_PRODUCTS CYBER_DOJO_ARCHIVE_COPY_SECONDS
    CYBER_DOJO_RUNNER_LISTEN CYBER_DOJO_STORER CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS
    CYBER_DOJO_RUNNER_MAX_WAITING_RUNS CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS
    CYBER_DOJO_RUNNER_MAX_WARM_SECONDS CYBER_DOJO_RUNNER_MIN_AVAILABLE_MEMORY_BYTES
    CYBER_DOJO_RUNNER_RUBY_IMAGE CYBER_DOJO_RUN_MEMORY_BYTES CYBER_DOJO_RUN_TMP_BYTES
    CYBER_DOJO_RUN_MAX_PROCESSES CYBER_DOJO_RUN_MAX_OPEN_FILES CYBER_DOJO_RUN_MAX_FILE_BYTES
    CYBER_DOJO_RUN_MAX_OUTPUT_BYTES CYBER_DOJO_RUN_RUNTIME CYBER_DOJO_RUN_CPU_PERCENT
    CYBER_DOJO_SANDBOX_MAX_BYTES CYBER_DOJO_SANDBOX_MAX_FILES CYBER_DOJO_MIN_FREE_BYTES
"""

# Of docker-compose.yml, the scripts and the tests alone.
_OF_OTHERS = """
    CYBER_DOJO_ARCHIVE_DIRECTORY CYBER_DOJO_DOCKER_SOCKET CYBER_DOJO_TAG
    CYBER_DOJO_LANGUAGES_IMAGE CYBER_DOJO_EXERCISES_IMAGE CYBER_DOJO_STORER_PORT
    CYBER_DOJO_RUNNER_PORT CYBER_DOJO_ENGINE_RUN CYBER_DOJO_ENGINE_OPTIONS CYBER_DOJO_ENGINE_LOG
    CYBER_DOJO_DEBIAN_IMAGE CYBER_DOJO_SHARED CYBER_DOJO_TEST_RUN
"""

NAMES = frozenset((_OF_SERVICES + _OF_OTHERS).split())


def unknown(environ: Mapping[str, str]) -> Iterable[str]:
    """Yield, for each variable that looks like a setting and is none, what a person needs."""
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in NAMES and value:
            meant = get_close_matches(name, NAMES, 1)
            yield f"{name} is no setting" + (f": {meant[0]} is one" if meant else "")
