"""What tests of the storer start from, besides what every test on an engine does."""

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
