"""The command that a container starts with, and the environment of the run's program.

The command prepares everything before it waits for the run, so it costs the run no time.
"""

import mmap
from collections.abc import Sequence

from dojo import naming

_HOME = "/tmp"  # noqa: S108 - each container has one of its own
# The part of it that the cleaners take: a file in memory takes whole pages.
HOME_BYTES = mmap.PAGESIZE

# The content of ~/cyber_dojo_fs_cleaners.sh. Scripts source it, mostly to call it in a trap as they
# end. The functions ignore failures, because the exit status has to be that of the tests. There
# must be no backslash in it: the echo of some shells would interpret it.
_CLEANERS = """\
# Removes folders, with all that is in them.
cyber_dojo_delete_dirs() {
  rm -rf -- "$@" 2>/dev/null || :
}

# Removes files, and no folders.
cyber_dojo_delete_files() {
  rm -f -- "$@" 2>/dev/null || :
}

# Makes folders that are there and empty.
cyber_dojo_reset_dirs() {
  cyber_dojo_delete_dirs "$@"
  [ "$#" -eq 0 ] || mkdir -p -- "$@"
}
"""

# Writes the cleaners, which are the shell's first argument, and finds out which shell the run gets:
# bash if there is one.
_PREPARE = """
echo "$1" >~/cyber_dojo_fs_cleaners.sh
command -v bash >/dev/null && set -- bash || set -- sh
"""

# Runs cyber-dojo.sh, and reports its exit status. The program gets the pipes of its output, no
# other pipe, and an empty input. An engine that is being stopped sends TERM, and the script ignores
# it, so that the run can end by itself.
_RUN = """
trap : TERM
(exec "$1" ./cyber-dojo.sh </dev/null >&3 2>&4 3>&- 4>&- 5>&-)
echo $? >&5
"""

# What the runner says to a shell that waits: its run begins; or, to a container's own, that one of
# the launcher's runs has begun or ended.
GO, BUSY, FREE = "go", "busy", "free"

# Gets the folder of the container's pipes, and waits. Until the run begins, the script starts no
# program: the image's PATH may include the sandbox, where an earlier run can have put one. While
# the container serves a run of the launcher's, it ignores TERM too.
_WAIT = f"""
exec 3>"$0/out" 4>"$0/err" 5>"$0/status" <"$0/in" || exit
{_PREPARE}
echo ready >&5
while read -r word || exit; do
  case $word in
    {GO}) break ;;
    {BUSY}) trap '' TERM ;;
    {FREE}) trap - TERM ;;
  esac
done
{_RUN}
"""

# One of the runs in a container that serves many. The launcher has given it its pipes.
_WAIT_FOR_ONE = f"""
{_PREPARE}
read -r word || exit
{_RUN}
"""


def entrypoint(pipes_folder: str) -> Sequence[str]:
    """Return the command of a container whose pipes are in `pipes_folder`."""
    return ["sh", "-c", _WAIT, pipes_folder, _CLEANERS]


def command() -> Sequence[str]:
    """Return the command of one of the runs in a container.

    It waits for a line on descriptor 0, and writes to 3, 4 and 5.
    """
    return ["sh", "-c", _WAIT_FOR_ONE, "sh", _CLEANERS]


def environment(kata_id: str, avatar: str, image_name: str) -> Sequence[str]:
    """Return the environment variables of a run, besides those of its image."""
    return [
        f"HOME={_HOME}",
        # For programs that ask for the user's name: most images' /etc/passwd lacks the avatar.
        f"USER={avatar}",
        f"LOGNAME={avatar}",
        f"CYBER_DOJO_ID={kata_id}",
        f"CYBER_DOJO_AVATAR_NAME={avatar}",
        f"CYBER_DOJO_IMAGE_NAME={image_name}",
        f"CYBER_DOJO_SANDBOX={naming.sandbox_path(kata_id, avatar)}",
    ]
