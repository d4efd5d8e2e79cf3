"""What the storer measures: the archive, write-ahead logs, disks, damage, and backups.

What costs something to find is found by `storer.workers.survey`, and never while a call waits.
"""

from prometheus_client import Counter, Gauge

from dojo.metrics import REGISTRY

DATA_CONTAINERS = Gauge(
    "cyber_dojo_data_containers",
    "Katas that have a volume, found twice a minute.",
    registry=REGISTRY,
)
MAX_DATA_CONTAINERS = Gauge(
    "cyber_dojo_max_data_containers",
    "Data-containers above which katas are archived before their time; 0 without an archive.",
    registry=REGISTRY,
)
KATAS_ARCHIVED = Counter(
    "cyber_dojo_katas_archived", "Katas that were moved into the archive.", registry=REGISTRY
)
KATAS_FETCHED = Counter(
    "cyber_dojo_katas_fetched",
    "Katas that were brought into a data-container, by where from: archive, "
    "katas_directory or saver_directory.",
    ["source"],
    registry=REGISTRY,
)
ARCHIVE_OVERDUE_SECONDS = Gauge(
    "cyber_dojo_archive_overdue_seconds",
    "How long the idlest kata should have been in the archive, at the last scan; 0 if none should.",
    registry=REGISTRY,
)
ARCHIVE_COPY_LAG_SECONDS = Gauge(
    "cyber_dojo_archive_copy_lag_seconds",
    "The age of the oldest change that is not yet copied to the archive; 0 if all are.",
    registry=REGISTRY,
)
ARCHIVE_FAILURES = Counter(
    "cyber_dojo_archive_failures",
    "Attempts to archive or to copy katas that failed, by what was attempted.",
    ["work"],
    registry=REGISTRY,
)
WRITE_AHEAD_LOGS = Gauge(
    "cyber_dojo_write_ahead_logs",
    "Write-ahead logs with lights: pending, until the next checkpoint has git's files on disk; "
    "doubtful, because the disk failed; foreign, left by a process that died and not yet in git "
    "(counted every ten minutes).",
    ["state"],
    registry=REGISTRY,
)
CHECKPOINT_FAILURES = Counter(
    "cyber_dojo_checkpoint_failures",
    "Times that a disk failed to take git's files; their lights stay in the write-ahead logs.",
    registry=REGISTRY,
)
DISK_FREE_BYTES = Gauge(
    "cyber_dojo_disk_free_bytes",
    "Bytes that can be written to the disk of the engine's volumes, or of an archive directory.",
    ["disk"],
    registry=REGISTRY,
)
DISK_SIZE_BYTES = Gauge(
    "cyber_dojo_disk_size_bytes", "Bytes that these disks have in all.", ["disk"], registry=REGISTRY
)
FINDINGS = Counter(
    "cyber_dojo_verify_findings",
    "What VerifyKatas found, by kind, and whether it was mended: yes or no.",
    ["kind", "mended"],
    registry=REGISTRY,
)
AVATARS_SET_ASIDE = Counter(
    "cyber_dojo_avatars_set_aside",
    "Avatars that were damaged when their katas came in.",
    registry=REGISTRY,
)
DAMAGED_KATAS = Gauge(
    "cyber_dojo_damaged_katas",
    "Katas that are known to be damaged: broken, so that only a backup mends them; set_aside, in a "
    "data-container, with an avatar that was damaged when they came in.",
    ["damage"],
    registry=REGISTRY,
)
LAST_BACKUP_TIME = Gauge(
    "cyber_dojo_last_backup_timestamp_seconds",
    "When the last backup was complete, in seconds since 1970; 0 if none is remembered.",
    registry=REGISTRY,
)
SURVEY_TIME = Gauge(
    "cyber_dojo_survey_timestamp_seconds",
    "When the values that are found in the background were found, in seconds since 1970.",
    registry=REGISTRY,
)

ARCHIVE, KATAS_DIRECTORY, SAVER_DIRECTORY = "archive", "katas_directory", "saver_directory"
COPY = "copy"

# A counter that begins at 1 has not increased, as Prometheus sees it.
for _source in (ARCHIVE, KATAS_DIRECTORY, SAVER_DIRECTORY):
    KATAS_FETCHED.labels(_source)
for _work in (ARCHIVE, COPY):
    ARCHIVE_FAILURES.labels(_work)
