"""What a light takes from the light that it names as its source: a revert, or a check-out."""

from dataclasses import replace

from dojo.errors import InvalidArgument
from storer.kata.light import Light, Submission
from storer.katas.repository import Katas


def take(katas: Katas, light: Light, submission: Submission) -> tuple[Light, Submission]:
    """Return a light and its submission with what it takes from its source, if it has one.

    It takes the files, and without a colour of its own the outcome and the output too. Raises
    KataNotFound, AvatarNotFound or LightNotFound for an unknown source, and InvalidArgument if that
    is a start, which has no outcome.
    """
    source = light.facts.source
    if source is None:
        return light, submission
    with katas.using(source.kata_id) as kata:
        found, taken = kata.avatar(source.avatar).submission(source.number)
    if light.colour:
        return light, replace(submission, files=taken.files)
    if not found.colour:
        raise InvalidArgument("colour", "is required: light 0 has none to take")
    facts = replace(
        light.facts,
        is_special=found.facts.is_special,
        is_stdout_truncated=found.facts.is_stdout_truncated,
        is_stderr_truncated=found.facts.is_stderr_truncated,
        test_counts=found.facts.test_counts,
    )
    with_outcome = replace(
        light,
        colour=found.colour,
        duration=found.duration,
        status=found.status,
        reason=found.reason,
        facts=facts,
    )
    return with_outcome, taken
