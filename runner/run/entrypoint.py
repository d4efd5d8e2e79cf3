"""What a container runs first, and what the run's program finds when its turn comes.

All of it is done before the container waits, so it costs no run anything.
"""

import mmap
from collections.abc import Sequence

from dojo import naming

_HOME = "/tmp"  # noqa: S108 - each container has one of its own
# What the cleaners take of it: any file in memory takes whole pages.
HOME_BYTES = mmap.PAGESIZE

# What scripts source as ~/cyber_dojo_fs_cleaners.sh, mostly to call it in a trap as they end.
# Whatever is not there, or can't be removed, is passed over: the exit status is the tests'.
# It has no backslash, which some shells' echo would take for more than that.
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

# Given the folder of the container's pipes and the cleaners. It waits for the run to begin,
# runs it, by bash where there is one, and says how it ended. The program has none of the pipes
# but its output, and an empty input. TERM is what an engine that is being stopped sends: it lets
# the run come to its end first. Until the run begins it starts no program: the image may look
# for programs in the sandbox, where an earlier run can have put one.
_SCRIPT = """
exec 3>"$0/out" 4>"$0/err" 5>"$0/status" <"$0/in" || exit
trap : TERM
echo "$1" >~/cyber_dojo_fs_cleaners.sh
command -v bash >/dev/null && set -- bash || set -- sh
echo ready >&5
read -r go || exit
(exec "$1" ./cyber-dojo.sh </dev/null >&3 2>&4 3>&- 4>&- 5>&-)
echo $? >&5
"""


def entrypoint(pipes_folder: str) -> Sequence[str]:
    """Return the command that a container starts with; its pipes are in `pipes_folder`."""
    return ["sh", "-c", _SCRIPT, pipes_folder, _CLEANERS]


def environment(kata_id: str, avatar: str, image_name: str) -> Sequence[str]:
    """Return the variables that a run has beside those of its image."""
    return [
        f"HOME={_HOME}",
        # Not every image's /etc/passwd has the avatar: here a program can find who it is.
        f"USER={avatar}",
        f"LOGNAME={avatar}",
        f"CYBER_DOJO_ID={kata_id}",
        f"CYBER_DOJO_AVATAR_NAME={avatar}",
        f"CYBER_DOJO_IMAGE_NAME={image_name}",
        f"CYBER_DOJO_SANDBOX={naming.sandbox_path(kata_id, avatar)}",
    ]
