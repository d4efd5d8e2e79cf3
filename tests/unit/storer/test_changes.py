"""A change reaches every subscriber, whichever thread publishes it."""

from concurrent.futures import ThreadPoolExecutor

from storer.katas.changes import Changes


def test_each_subscriber_gets_each_change_once() -> None:
    changes = Changes()
    one: list[str] = []
    other: list[str] = []
    changes.subscribe(one.append)
    changes.publish("A")
    changes.subscribe(other.append)
    changes.publish("B")
    assert (one, other) == (["A", "B"], ["B"])


def test_changes_are_published_while_others_subscribe() -> None:
    changes = Changes()
    received: list[str] = []
    changes.subscribe(received.append)
    with ThreadPoolExecutor(8) as threads:
        for number in range(200):
            threads.submit(changes.subscribe, lambda _: None)
            threads.submit(changes.publish, str(number))
    assert sorted(received, key=int) == [str(number) for number in range(200)]
    assert len(changes._subscribers) == 201
