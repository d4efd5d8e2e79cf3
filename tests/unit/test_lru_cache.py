"""A cache with a bounded number of entries."""

from dojo.lru_cache import LruCache


def kept(cache: LruCache[str, int], *keys: str) -> dict[str, int | None]:
    return {key: cache.get(key) for key in keys}


def test_the_values_used_last_are_kept() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1  # makes b the least recently used
    cache.put("c", 3)
    assert kept(cache, "a", "b", "c") == {"a": 1, "b": None, "c": 3}


def test_a_value_that_is_put_again_is_the_new_one_and_takes_no_more_room() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    cache.put("c", 4)
    assert kept(cache, "a", "b", "c") == {"a": 3, "b": None, "c": 4}


def test_a_value_that_is_discarded_is_not_kept() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.discard("a")
    cache.discard("b")
    assert cache.get("a") is None


def test_values_that_weigh_more_than_the_cache_holds_are_dropped() -> None:
    cache: LruCache[str, int] = LruCache(10, lambda value: value)
    cache.put("a", 4)
    cache.put("b", 6)
    assert kept(cache, "a", "b") == {"a": 4, "b": 6}
    cache.put("a", 5)
    assert kept(cache, "a", "b") == {"a": 5, "b": None}
    cache.put("c", 11)
    assert kept(cache, "a", "c") == {"a": None, "c": None}
    cache.put("d", 10)
    assert kept(cache, "d") == {"d": 10}
