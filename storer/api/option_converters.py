"""Convert the options of katas to messages, and back."""

from collections.abc import Collection

from cyberdojo.storer.v1 import storer_pb2
from dojo import visible_files
from dojo.errors import InvalidArgument
from storer.kata.options import NAMES, KataOptions, Options

_THEMES = {"light": storer_pb2.THEME_LIGHT, "dark": storer_pb2.THEME_DARK}
_THEME_NAMES = {number: name for name, number in _THEMES.items()}


def options_from(message: storer_pb2.Options) -> Options:
    """Return the options that are set in a message; raise InvalidArgument."""
    theme = message.theme
    if theme and theme not in _THEME_NAMES:
        raise InvalidArgument("options.theme", f"{theme} is not one of the themes")
    switches = {
        name: getattr(message, name)
        for name in NAMES
        if name != "theme" and message.HasField(name)  # type: ignore[arg-type]
    }
    return Options(theme=_THEME_NAMES.get(theme), **switches)


def unset_from(names: Collection[str], given: Options) -> list[str]:
    """Return the names of options to be set no longer beside the `given`; raise InvalidArgument."""
    if len(names) > len(NAMES):
        raise InvalidArgument("unset", f"{len(names)} names are more than {len(NAMES)}")
    for place, name in enumerate(names):
        if name not in NAMES:
            shown = visible_files.shown(name)
            raise InvalidArgument(f"unset[{place}]", f"{shown} is not the name of an option")
        if name in given.values():
            raise InvalidArgument(f"unset[{place}]", f"{name} is to be set, too")
    if not names and not given.values():
        raise InvalidArgument("options", "at least one option is required, here or in unset")
    return list(names)


def options_to(options: KataOptions) -> storer_pb2.KataOptions:
    """Return the options of a kata as a message."""
    return storer_pb2.KataOptions(
        kata=_one_to(options.kata),
        avatars={name: _one_to(own) for name, own in options.avatars.items()},
    )


def _one_to(options: Options) -> storer_pb2.Options:
    message = storer_pb2.Options()
    for name, value in options.values().items():
        setattr(message, name, _THEMES[value] if isinstance(value, str) else value)
    return message
