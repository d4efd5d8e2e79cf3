"""Fixtures of the storer's tests, besides those of every test that needs an engine."""

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
