"""Values kept for who asks for them again."""

from dojo.lru_cache import Recent


def kept(recent: Recent[str, int], *keys: str) -> dict[str, int | None]:
    return {key: recent.get(key) for key in keys}


def test_the_values_used_last_are_kept() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1  # a use: it is b now that goes
    recent.put("c", 3)
    assert kept(recent, "a", "b", "c") == {"a": 1, "b": None, "c": 3}


def test_a_value_that_is_put_again_is_the_new_one_and_takes_no_more_room() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.put("a", 3)
    recent.put("c", 4)
    assert kept(recent, "a", "b", "c") == {"a": 3, "b": None, "c": 4}


def test_what_is_forgotten_is_not_kept() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.forget("a")
    recent.forget("b")
    assert recent.get("a") is None
