"""The options of a saver's katas, which are ours in other words.

A saver has them for each of its katas, which is an avatar here. So an avatar has options of its own
where its saver's are others than those of the kata as a whole.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from storer.fs.json_files import Unreadable
from storer.kata import options
from storer.kata.options import DEFAULTS, THEMES, KataOptions, Options
from storer.saver.kata import OPTIONS

# The name here of each option that a saver has another name for.
_OURS = {"colour": "syntax_colour"}
_SWITCHES = {"on": True, "off": False}

# Under the key of a storer, in a manifest that a storer has written: what the options of the kata
# are here, where a saver's don't say it.
KEY = "options"


def taken(
    manifest: Mapping[str, Any], own: object, of_avatars: Mapping[str, Mapping[str, Any]]
) -> KataOptions:
    """Return the options of a kata that comes from a saver.

    `manifest` is the saver's, `own` what a storer has written there, and `of_avatars` has the
    saver's options of each avatar.
    """
    found = KataOptions(kata=_others(_usable(manifest), DEFAULTS))
    if isinstance(own, Mapping) and isinstance(own.get(KEY), dict):
        with suppress(Unreadable):  # then the saver's own say what holds
            found = options.parse(own[KEY])
    for name, each in of_avatars.items():
        holds = replace(DEFAULTS, **found.of(name).values())
        differs = _others(_usable(each), holds)
        if differs.values():
            found = found.changed(name, differs)
    return found


def written(
    found: KataOptions, name: str, manifest: Mapping[str, Any], kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of an avatar as a saver has them.

    `manifest` is the kata's, and `kept` has the options that came from a saver: of those, what
    is no option here is as it was.
    """
    chosen = found.of(name).values()
    of_manifest = {key: manifest[key] for key in OPTIONS if key in manifest}
    value: dict[str, Any] = {**OPTIONS, **of_manifest, **kept}
    was_set = _usable(value).values()  # and may be set no longer
    for key, default in OPTIONS.items():
        ours = _OURS.get(key, key)
        if ours in chosen:
            value[key] = _word(chosen[ours])
        elif ours in was_set:
            value[key] = default
    return value


def _others(given: Options, than: Options) -> Options:
    """Return those of the given options whose values are others than those of `than`."""
    before = than.values()
    return Options(**{key: each for key, each in given.values().items() if before[key] != each})


def _usable(value: Mapping[str, Any]) -> Options:
    """Return those of a saver's options that have a value which is one here."""
    theme = value.get("theme")
    found: dict[str, Any] = {"theme": theme if theme in THEMES else None}
    for key in OPTIONS:
        word = value.get(key)
        if key != "theme" and isinstance(word, str):
            found[_OURS.get(key, key)] = _SWITCHES.get(word)
    return Options(**found)


def _word(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
