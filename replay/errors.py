"""The errors that end a replay early."""


class ReplayStopped(Exception):
    """The replay can't continue: the engine or a service is gone, or the disk is full."""


class NothingToReplay(Exception):
    """A source or the start points that the caller named can't be used."""
