"""A change reaches everybody who subscribed, in whatever thread it happens."""

from concurrent.futures import ThreadPoolExecutor

from storer.katas.changes import Changes


def test_each_change_is_told_to_each_subscriber_once() -> None:
    changes = Changes()
    one: list[str] = []
    other: list[str] = []
    changes.subscribe(one.append)
    changes.publish("A")
    changes.subscribe(other.append)
    changes.publish("B")
    assert (one, other) == (["A", "B"], ["B"])


def test_changes_are_told_while_others_subscribe() -> None:
    changes = Changes()
    told: list[str] = []
    changes.subscribe(told.append)
    with ThreadPoolExecutor(8) as threads:
        for number in range(200):
            threads.submit(changes.subscribe, lambda _: None)
            threads.submit(changes.publish, str(number))
    assert sorted(told, key=int) == [str(number) for number in range(200)]
    assert len(changes._subscribers) == 201
