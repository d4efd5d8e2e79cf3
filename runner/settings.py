"""The runner's settings: where it listens, and what a run may use."""

from dataclasses import dataclass

from dojo import limits, run_output
from dojo.service.settings import CommonSettings, address, setting, whole_number

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_RUNS_OF_CONTAINER = 1000


@dataclass(frozen=True)
class RunnerSettings(CommonSettings):
    """The settings of the runner."""

    listen: str = setting(
        "CYBER_DOJO_RUNNER_LISTEN",
        address,
        "127.0.0.1:4597",
        "host:port that the runner listens on; port 0: a free one, which is logged",
    )
    storer: str | None = setting(
        "CYBER_DOJO_STORER",
        address,
        None,
        "host:port of the storer, which imports katas that no data-container holds; it has to "
        "serve the same namespace",
    )
    max_concurrent_runs: int | None = setting(
        "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS",
        whole_number(1, 256),
        None,
        "runs at once; further ones wait, first come first served. By default two per core",
    )
    max_waiting_runs: int = setting(
        "CYBER_DOJO_RUNNER_MAX_WAITING_RUNS",
        whole_number(0, 100_000),
        256,
        "runs that wait; one more is refused, and the refusal says when to try again",
    )
    max_warm_containers: int = setting(
        "CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS",
        whole_number(0, 10_000),
        64,
        "containers that are started before they are needed; the least recently used goes "
        "first. 0: each is started when it is needed",
    )
    max_warm_seconds: int = setting(
        "CYBER_DOJO_RUNNER_MAX_WARM_SECONDS",
        whole_number(1, 7 * 24 * 3600),
        1800,
        "seconds after which a container that waits is removed",
    )
    max_runs_of_container: int | None = setting(
        "CYBER_DOJO_RUNNER_MAX_RUNS_OF_CONTAINER",
        whole_number(1, 1_000_000),
        None,
        "runs that one container serves, one after the other; 1: each run has a container of its "
        "own. By default 1000, and 1 with a runtime of CYBER_DOJO_RUN_RUNTIME",
    )
    max_container_seconds: int = setting(
        "CYBER_DOJO_RUNNER_MAX_CONTAINER_SECONDS",
        whole_number(1, 7 * 24 * 3600),
        3600,
        "seconds after which a container serves no further run",
    )
    min_available_memory_bytes: int = setting(
        "CYBER_DOJO_RUNNER_MIN_AVAILABLE_MEMORY_BYTES",
        whole_number(0, TIB),
        GIB,
        "the machine's available memory below which containers that wait are removed, instead "
        "of more being started",
    )
    memory_bytes: int = setting(
        "CYBER_DOJO_RUN_MEMORY_BYTES",
        whole_number(16 * MIB, TIB),
        512 * MIB,
        "memory of a run, swap and its /tmp included; stops a memory bomb",
    )
    tmp_bytes: int = setting(
        "CYBER_DOJO_RUN_TMP_BYTES",
        whole_number(MIB, TIB),
        128 * MIB,
        "size of a run's /tmp, which is in memory and gone after the run; stops filling it up",
    )
    max_processes: int = setting(
        "CYBER_DOJO_RUN_MAX_PROCESSES",
        whole_number(8, 32768),
        256,
        "processes and threads of a run; stops a fork bomb",
    )
    max_open_files: int = setting(
        "CYBER_DOJO_RUN_MAX_OPEN_FILES",
        whole_number(64, 1_048_576),
        1024,
        "files that one process of a run may have open",
    )
    max_file_bytes: int = setting(
        "CYBER_DOJO_RUN_MAX_FILE_BYTES",
        whole_number(MIB, TIB),
        128 * MIB,
        "size of one file that a run writes, holes included; stops a file without end",
    )
    max_stack_bytes: int = setting(
        "CYBER_DOJO_RUN_MAX_STACK_BYTES",
        whole_number(MIB, GIB),
        16 * MIB,
        "size of the stack of a run's process; a thread has one too, of the same size if its "
        "program asks for no other",
    )
    max_output_bytes: int = setting(
        "CYBER_DOJO_RUN_MAX_OUTPUT_BYTES",
        whole_number(KIB, run_output.MAX_BYTES),
        50 * KIB,
        "bytes kept of standard output, and as many of standard error; stops endless output",
    )
    ruby_image: str = setting(
        "CYBER_DOJO_RUNNER_RUBY_IMAGE",
        str,
        "cyber-dojo/ruby_lambdas",
        "the image that evaluates colour rules that are Ruby lambdas",
    )
    registry: str = setting(
        "CYBER_DOJO_REGISTRY",
        address,
        "",
        "host:port of the registry with the images that all machines are to have; a run whose "
        "image is missing here has it pulled from there",
    )
    runtime: str = setting(
        "CYBER_DOJO_RUN_RUNTIME",
        str,
        "",
        "the engine's runtime for runs, such as runsc; by default the engine's own default",
    )
    cpu_percent: int = setting(
        "CYBER_DOJO_RUN_CPU_PERCENT",
        whole_number(0, 100 * 1024),
        0,
        "processor time of a run, 100 is one core, 0 is no limit. By default runs share the "
        "cores evenly and have half the weight of the services, so that a lone one may use all",
    )
    max_sandbox_bytes: int = setting(
        "CYBER_DOJO_SANDBOX_MAX_BYTES",
        whole_number(MIB, TIB),
        limits.SANDBOX_BYTES,
        "disk space of a sandbox, checked four times a second; stops filling the disk",
    )
    max_sandbox_files: int = setting(
        "CYBER_DOJO_SANDBOX_MAX_FILES",
        whole_number(100, 10_000_000),
        limits.SANDBOX_FILES,
        "files and folders in a sandbox; stops a million empty files",
    )
    min_free_bytes: int = setting(
        "CYBER_DOJO_MIN_FREE_BYTES",
        whole_number(0, 1024 * TIB),
        GIB,
        "free disk space below which no run starts and those in progress end",
    )

    @property
    def runs_of_container(self) -> int:
        """How many runs one container may serve."""
        return self.max_runs_of_container or (1 if self.runtime else _RUNS_OF_CONTAINER)

    @property
    def machine(self) -> str:
        """The name of this machine if it is one of several, "" if it is alone."""
        return self.node_name if self.etcd else ""
