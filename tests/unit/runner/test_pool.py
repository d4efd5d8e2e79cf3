"""The pool: a container waits for whoever may come next, and what is no longer good is let go.

The containers here stand for the engine's, which can't be told when to be slow, or to fail.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dojo.errors import EngineUnavailable
from runner.run.container_config import RunKey
from runner.run.pool import Pool, PoolLimits
from support.services import wait_until

ID = "7C4E19D2B6"


def a_key(avatar: str = "whale", image: str = "a/image") -> RunKey:
    return RunKey(kata_id=ID, avatar=avatar, image_name=image)


@dataclass
class Container:
    """What a pool needs to know of a container."""

    key: RunKey
    image_id: str | None = "sha256:1"
    image_checked: float = field(default_factory=time.monotonic)
    is_there: bool = True
    is_closed: bool = False

    def is_waiting(self) -> bool:
        return self.is_there

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Engine:
    """What makes containers, one after the other if it is told to be slow."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    begun: list[RunKey] = field(default_factory=list)
    made: list[Container] = field(default_factory=list)
    images: dict[str, str | None] = field(default_factory=dict)
    error: Exception | None = None

    def start(self, key: RunKey) -> Any:
        self.begun.append(key)
        assert self.may_go_on.wait(60)
        if self.error is not None:
            raise self.error
        self.made.append(Container(key, self.image_id(key.image_name)))
        return self.made[-1]

    def image_id(self, name: str) -> str | None:
        return self.images.get(name, "sha256:1")

    def all_closed(self) -> bool:
        return all(each.is_closed for each in self.made)


@pytest.fixture
def engine() -> Engine:
    engine = Engine()
    engine.may_go_on.set()
    return engine


MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(engine: Engine) -> Iterator[MakePool]:
    """Makes pools, which close in the end; then nothing of them is left."""
    pools: list[Pool] = []

    def make(containers: int = 8, idle: int = 600, available: int = 0, makers: int = 1) -> Pool:
        limits = PoolLimits(containers, idle, available)
        pools.append(Pool(engine.start, engine.image_id, limits, makers))
        return pools[-1]

    yield make
    engine.may_go_on.set()
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    return make_pool()


def warmed(pool: Pool, *keys: RunKey) -> None:
    """Have a container wait for each of the keys."""
    for key in keys:
        done = pool.warm(key)
        assert done is not None
        done.result(60)
        assert pool.is_warm(key)


def test_a_container_that_waits_is_taken_once(pool: Pool, engine: Engine) -> None:
    assert pool.take(a_key()) is None
    warmed(pool, a_key())
    found: Any = pool.take(a_key())
    assert found is engine.made[0]
    assert pool.take(a_key()) is None
    assert not engine.made[0].is_closed  # it is its taker's


def test_each_avatar_and_image_has_one_of_its_own(pool: Pool) -> None:
    keys = [a_key(), a_key("bear"), a_key(image="another/image")]
    warmed(pool, *keys)
    for key in keys:
        found: Any = pool.take(key)
        assert found.key == key


def test_preparing_twice_makes_one(pool: Pool, engine: Engine) -> None:
    engine.may_go_on.clear()
    first, second = pool.warm(a_key()), pool.warm(a_key())
    assert first is second
    engine.may_go_on.set()
    assert first is not None
    first.result(60)
    assert pool.warm(a_key()) is None
    assert len(engine.made) == 1


def test_whoever_comes_while_one_is_made_gets_that_one(pool: Pool, engine: Engine) -> None:
    engine.may_go_on.clear()
    pool.warm(a_key())
    wait_until(lambda: engine.begun)
    taken: list[object] = []
    taking = threading.Thread(target=lambda: taken.append(pool.take(a_key())))
    taking.start()
    engine.may_go_on.set()
    taking.join(60)
    assert taken == engine.made
    assert len(taken) == 1


def test_whoever_comes_before_making_was_begun_does_not_wait_for_it(
    pool: Pool, engine: Engine
) -> None:
    engine.may_go_on.clear()
    pool.warm(a_key("bear"))
    wait_until(lambda: engine.begun)
    waiting = pool.warm(a_key())
    assert pool.take(a_key()) is None
    assert waiting is not None
    assert waiting.cancelled()


def test_nothing_is_begun_while_somebody_waits_for_a_run(pool: Pool, engine: Engine) -> None:
    with pool.paused():
        done = pool.warm(a_key())
        assert engine.begun == []
    assert done is not None
    done.result(60)


def test_one_that_went_or_is_of_another_image_is_let_go(pool: Pool, engine: Engine) -> None:
    warmed(pool, a_key(), a_key("bear"))
    whale, bear = engine.made
    whale.is_there = False
    assert pool.take(a_key()) is None
    engine.images["a/image"] = "sha256:2"
    pool.images_changed()
    found: Any = pool.take(a_key("bear"))
    assert found is not bear
    wait_until(lambda: whale.is_closed and bear.is_closed)


def test_one_of_an_image_that_was_replaced_is_made_anew_and_of_one_that_went_is_not(
    pool: Pool, engine: Engine
) -> None:
    keys = [a_key(image="replaced"), a_key(image="gone"), a_key(image="same")]
    warmed(pool, *keys)
    engine.images.update({"replaced": "sha256:2", "gone": None})
    pool.images_changed()
    wait_until(lambda: len(engine.made) == 4 and pool.is_warm(keys[0]))
    assert [each.is_closed for each in engine.made] == [True, True, False, False]
    assert [pool.is_warm(key) for key in keys] == [True, False, True]


def test_the_one_that_was_used_least_lately_makes_room(make_pool: MakePool, engine: Engine) -> None:
    pool = make_pool(containers=2)
    warmed(pool, a_key("bear"), a_key("owl"))
    assert pool.warm(a_key("bear")) is None  # a use
    warmed(pool, a_key())
    assert [pool.is_warm(a_key(name)) for name in ("bear", "owl", "whale")] == [True, False, True]
    wait_until(lambda: engine.made[1].is_closed)


def test_those_that_are_idle_too_long_or_went_are_let_go(
    make_pool: MakePool, engine: Engine
) -> None:
    pool = make_pool(idle=0)
    done = pool.warm(a_key())
    assert done is not None
    done.result(60)
    wait_until(lambda: engine.made[0].is_closed and not pool.is_warm(a_key()))
    other = make_pool()
    warmed(other, a_key())
    engine.made[1].is_there = False
    wait_until(lambda: engine.made[1].is_closed and not other.is_warm(a_key()))


def test_none_is_made_where_none_may_wait_or_memory_is_short(
    make_pool: MakePool, engine: Engine
) -> None:
    assert make_pool(containers=0).warm(a_key()) is None
    short = make_pool(available=2**60)
    done = short.warm(a_key())
    assert done is not None
    done.result(60)
    assert not short.is_warm(a_key())
    assert engine.begun == []


@pytest.mark.parametrize("error", [EngineUnavailable("it is gone"), RuntimeError("a defect")])
def test_a_failure_is_told_and_the_next_one_goes_well(
    pool: Pool, engine: Engine, error: Exception
) -> None:
    engine.error = error
    done = pool.warm(a_key())
    assert done is not None
    assert done.exception(60) is error
    assert pool.take(a_key()) is None
    engine.error = None
    warmed(pool, a_key())


def test_a_released_avatar_has_none_and_the_others_keep_theirs(pool: Pool, engine: Engine) -> None:
    warmed(pool, a_key(), a_key(image="another"), a_key("bear"))
    pool.release(ID, "whale")
    assert [pool.is_warm(key) for key in (a_key(), a_key("bear"))] == [False, True]
    wait_until(lambda: [each.is_closed for each in engine.made] == [True, True, False])


def test_a_container_that_is_being_started_for_a_released_avatar_is_removed(
    pool: Pool, engine: Engine
) -> None:
    engine.may_go_on.clear()
    done = pool.warm(a_key())
    wait_until(lambda: engine.begun == [a_key()])
    pool.release(ID, "whale")
    engine.may_go_on.set()
    assert done is not None
    assert done.result(60) is None
    assert not pool.is_warm(a_key())
    wait_until(engine.all_closed)


def test_an_avatar_that_is_back_gets_the_container_that_is_being_started(
    pool: Pool, engine: Engine
) -> None:
    engine.may_go_on.clear()
    pool.warm(a_key())
    wait_until(lambda: engine.begun == [a_key()])
    pool.release(ID, "whale")
    done = pool.warm(a_key())
    engine.may_go_on.set()
    assert done is not None
    done.result(60)
    found: Any = pool.take(a_key())
    assert found is engine.made[0]
    assert not found.is_closed


def test_closing_lets_go_of_all_also_of_one_that_is_being_made(
    make_pool: MakePool, engine: Engine
) -> None:
    pool = make_pool()
    warmed(pool, a_key())
    engine.may_go_on.clear()
    pool.warm(a_key("bear"))
    wait_until(lambda: len(engine.begun) == 2)
    waiting = pool.warm(a_key("owl"))
    closing = threading.Thread(target=pool.close)
    closing.start()
    assert waiting is not None
    wait_until(waiting.cancelled)
    engine.may_go_on.set()
    closing.join(60)
    assert len(engine.made) == 2
    assert engine.all_closed()
    assert pool.warm(a_key()) is None


def test_a_container_that_is_given_back_waits_for_the_next_run(pool: Pool, engine: Engine) -> None:
    warmed(pool, a_key())
    made: Any = engine.made[0]
    for _ in range(3):
        found: Any = pool.take(a_key())
        assert found is made
        assert not pool.is_warm(a_key())
        assert pool.give_back(found)
        assert pool.is_warm(a_key())
    assert pool.warm(a_key()) is None
    assert len(engine.made) == 1


def test_a_container_whose_image_was_replaced_during_its_run_serves_no_other(
    pool: Pool, engine: Engine
) -> None:
    warmed(pool, a_key())
    found: Any = pool.take(a_key())
    engine.images["a/image"] = "sha256:2"
    pool.images_changed()
    assert pool.give_back(found)
    taken: Any = pool.take(a_key())
    assert taken is None or taken.image_id == "sha256:2"
    wait_until(lambda: found.is_closed)


def test_of_containers_that_are_given_back_the_least_recently_used_goes(
    make_pool: MakePool, engine: Engine
) -> None:
    pool = make_pool(containers=2)
    warmed(pool, a_key(), a_key("bear"))
    taken: Any = pool.take(a_key())
    warmed(pool, a_key("crab"))
    assert pool.give_back(taken)
    wait_until(lambda: engine.made[1].is_closed)
    assert [pool.is_warm(a_key(each)) for each in ("whale", "bear", "crab")] == [True, False, True]


def test_a_container_is_not_taken_back_beside_another_one_or_when_none_may_wait(
    make_pool: MakePool,
) -> None:
    pool = make_pool()
    warmed(pool, a_key())
    taken: Any = pool.take(a_key())
    warmed(pool, a_key())
    assert not pool.give_back(taken)
    for other in (make_pool(containers=0), make_pool(available=1 << 60)):
        assert not other.give_back(taken)
    pool.close()
    assert not pool.give_back(taken)
    assert not taken.is_closed


def test_a_container_that_is_given_back_while_another_one_is_made_is_the_one_that_stays(
    pool: Pool, engine: Engine
) -> None:
    warmed(pool, a_key())
    taken: Any = pool.take(a_key())
    engine.may_go_on.clear()
    making = pool.warm(a_key())
    wait_until(lambda: len(engine.begun) == 2)
    assert pool.give_back(taken)
    engine.may_go_on.set()
    assert making is not None
    making.result(60)
    wait_until(lambda: engine.made[1].is_closed)
    found: Any = pool.take(a_key())
    assert found is taken
    assert not taken.is_closed
