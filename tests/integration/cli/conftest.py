"""Fixtures of the command line's tests: those of the storer's tests."""

from support.storer.fixtures import (  # noqa: F401 - fixtures
    _tidy,
    client,
    elsewhere,
    folder,
    kata_id,
    katas,
    katas_elsewhere,
    short_folder,
    start_storer,
)
