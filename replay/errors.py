"""What ends a replay before its end."""


class ReplayStopped(Exception):
    """It can't go on: the engine or a service is gone, or the disk is full. Says which."""


class NothingToReplay(Exception):
    """What was asked for is not there. Says what."""
