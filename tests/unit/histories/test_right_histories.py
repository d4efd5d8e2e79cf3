"""Histories that a single storer could have are found right, however calls ended and overlapped."""

import pytest

from support.histories.attempts import (
    AVATARS_TAKEN,
    NO_SUCH_AVATAR,
    NO_SUCH_KATA,
    REQUEST_ID_REUSED,
)
from support.histories.checker import judge
from support.histories.simulated.script import Script


@pytest.fixture
def script() -> Script:
    """A history in which a kata was created and the whale and the zebra started."""
    script = Script()
    script.create()
    script.start("whale")
    script.start("zebra")
    return script


def check(script: Script, *, stale_reads: bool = False) -> None:
    """Check that nothing is wrong with a history."""
    verdict = judge(script.attempts, script.final, stale_reads=stale_reads)
    assert verdict.is_right, str(verdict)


def test_nothing_happened() -> None:
    check(Script())


def test_one_call_after_the_other(script: Script) -> None:
    script.record("whale", 1)
    script.record("zebra", 1)
    script.record("whale", 2, expected=2)
    script.read("whale", 2, {1: "whale 1", 2: "whale 2"})
    script.list(whale=2, zebra=1)
    script.end(whale=2, zebra=1)
    check(script)


def test_a_call_without_an_answer_was_done(script: Script) -> None:
    script.record("whale", content="whale 1", lost=True)
    script.record("whale", 2)
    script.end(whale=2, zebra=0)
    check(script)


def test_a_call_without_an_answer_was_not_done(script: Script) -> None:
    script.record("whale", content="lost", lost=True)
    script.record("whale", 1)
    script.end(whale=1, zebra=0)
    check(script)


def test_a_call_without_an_answer_is_done_after_later_ones(script: Script) -> None:
    script.record("whale", content="late", lost=True)
    script.record("whale", 1)
    script.record("whale", 2)
    script.record("whale", 4)
    script.end(whale=["whale 1", "whale 2", "late", "whale 4"], zebra=0)
    check(script)


def test_a_request_is_sent_again_until_it_has_an_answer(script: Script) -> None:
    for _ in range(3):
        script.record("whale", content="whale 1", lost=True)
    script.record("zebra", 1)
    script.record("whale", 1)
    script.record("whale", 1)
    script.end(whale=1, zebra=1)
    check(script)


def test_the_first_attempt_did_it_before_others_came(script: Script) -> None:
    script.record("whale", content="whale 1", lost=True)
    script.record("whale", 2)
    script.record("whale", 1)
    script.end(whale=2, zebra=0)
    check(script)


def test_a_request_with_a_number_is_sent_again_although_there_are_later_lights(
    script: Script,
) -> None:
    script.record("whale", content="whale 1", expected=1, lost=True)
    script.record("whale", 2)
    script.record("whale", 1, expected=1)
    check(script)


def test_two_clients_want_the_same_number(script: Script) -> None:
    script.record("whale", 1, expected=1, at=(20, 22))
    script.record("whale", content="loser", expected=1, at=(20, 22), newest=1)
    script.record("whale", 2, "loser", expected=2, request="again")
    script.end(whale=["whale 1", "loser"], zebra=0)
    check(script)


def test_calls_that_overlap_come_in_any_order(script: Script) -> None:
    script.record("whale", 2, at=(20, 30))
    script.record("whale", 1, at=(29, 31))
    script.record("whale", 3, at=(30, 31))
    script.end(whale=3, zebra=0)
    check(script)


def test_calls_that_end_as_others_are_sent_overlap(script: Script) -> None:
    script.record("whale", 2, at=(20, 21))
    script.record("whale", 1, at=(21, 22))
    check(script)


def test_a_light_is_recorded_twice_without_a_request_id(script: Script) -> None:
    script.record("whale", content="same", request="", lost=True)
    script.record("whale", 2, "same", request="")
    script.end(whale=["same", "same"], zebra=0)
    check(script)


def test_a_refused_request_is_sent_again_with_another_content(script: Script) -> None:
    script.record("whale", content="first", expected=2, request="id", newest=0)
    script.record("whale", 1, "second", expected=1, request="id")
    script.record("whale", content="third", request="id", refused=REQUEST_ID_REUSED)
    script.end(whale=["second"], zebra=0)
    check(script)


def test_a_malformed_call_says_nothing(script: Script) -> None:
    script.record("whale", content="malformed", refused="MALFORMED_FIELD")
    script.end(whale=0, zebra=0)
    check(script)


def test_the_kata_may_have_been_deleted_before_or_after_a_record_that_overlaps(
    script: Script,
) -> None:
    script.delete(at=(20, 30))
    script.record("whale", 1, at=(21, 22))
    script.record("zebra", content="too late", at=(23, 24), refused=NO_SUCH_KATA)
    script.record("whale", content="too late", at=(25, 26), lost=True)
    script.read("whale", 1, at=(20, 29))
    script.delete(refused=NO_SUCH_KATA)
    script.end_without()
    check(script)


def test_a_deletion_without_an_answer_is_done_late(script: Script) -> None:
    script.delete(lost=True)
    script.record("whale", 1)
    script.record("whale", content="too late", refused=NO_SUCH_KATA)
    script.delete(refused=NO_SUCH_KATA)
    script.end_without()
    check(script)


def test_a_deletion_without_an_answer_is_never_done(script: Script) -> None:
    script.delete(lost=True)
    script.record("whale", 1)
    script.end(whale=1, zebra=0)
    check(script)


def test_lights_of_a_deleted_kata_were_recorded_by_calls_without_an_answer(script: Script) -> None:
    script.record("whale", content="one", lost=True)
    script.record("whale", content="two", lost=True)
    script.record("whale", 3)
    script.delete()
    script.end_without()
    check(script)


def test_a_light_of_a_deleted_kata_was_recorded_before_the_deletion(script: Script) -> None:
    script.record("whale", content="too late", at=(30, 31), lost=True)
    script.record("whale", content="in time", at=(10, 11), lost=True)
    script.record("whale", 2, at=(20, 40))
    script.delete(at=(20, 22))
    check(script)


def test_a_kata_is_not_found_before_it_is_created() -> None:
    script = Script()
    script.create(at=(1, 9))
    script.record("whale", content="early", at=(2, 3), refused=NO_SUCH_KATA)
    script.record("whale", content="early", at=(4, 5), refused=NO_SUCH_AVATAR)
    script.start("whale", at=(5, 8))
    script.record("whale", 1, at=(7, 9))
    script.end(whale=1)
    check(script)


def test_a_kata_is_created_by_a_call_without_an_answer() -> None:
    script = Script()
    script.create(lost=True)
    script.create(request="never", content="others", lost=True)
    script.end()
    check(script)


def test_of_calls_without_an_answer_the_one_in_time_created_a_kata() -> None:
    script = Script()
    script.create(request="too late", at=(30, 31), lost=True)
    script.create(at=(1, 2), lost=True)
    script.list(how={"at": (10, 11)})
    check(script)


def test_a_deleted_kata_is_created_again_by_a_call_that_lingered(script: Script) -> None:
    script.create(lost=True)
    script.record("whale", 1)
    script.delete()
    script.record("whale", content="too late", refused=NO_SUCH_KATA)
    script.record("whale", content="too late", refused=NO_SUCH_AVATAR)
    script.end()
    check(script)


def test_a_deleted_kata_is_created_again_as_its_request_is_sent_again(script: Script) -> None:
    script.record("whale", 1)
    script.delete()
    script.create()
    script.start("whale")
    script.record("whale", 1)
    script.delete()
    script.end_without()
    check(script)


def test_a_kata_with_many_calls_is_created_again(script: Script) -> None:
    for life in range(2):
        for number in range(1, 200):
            script.record("whale", number, f"{life} {number}", lost=number % 7 == 0)
        script.list(whale=199, zebra=0)
        script.delete()
        script.create()
        script.start("whale")
        script.start("zebra")
    script.end(whale=0, zebra=0)
    check(script)


def test_an_avatar_is_started_by_a_call_without_an_answer(script: Script) -> None:
    script.start("", "whale", "zebra", "bat", "owl", request="lost", lost=True)
    script.start("", request="any", lost=True)
    script.record("bat", 1)
    script.start("owl", "zebra", "owl")
    script.end(whale=0, zebra=0, bat=1, owl=0)
    check(script)


def test_calls_without_an_answer_started_what_others_were_refused(script: Script) -> None:
    script.start("", "bat", "owl", request="one", lost=True)
    script.start("", "bat", "owl", request="other", lost=True)
    script.start("", "owl", "bat", request="none", refused=AVATARS_TAKEN)
    script.end(whale=0, zebra=0, bat=0, owl=0)
    check(script)


def test_the_second_choice_was_started_after_the_first(script: Script) -> None:
    script.start("bat", at=(20, 30))
    script.start("owl", "bat", "owl", at=(20, 22))
    script.end(whale=0, zebra=0, bat=0, owl=0)
    check(script)


def test_a_read_that_overlaps_shows_a_light_or_not(script: Script) -> None:
    script.record("whale", 1, at=(20, 30))
    script.read("whale", 0, at=(21, 22))
    script.read("whale", 1, at=(25, 26))
    script.list(whale=1, zebra=0)
    check(script)


def test_a_read_shows_a_light_without_its_content(script: Script) -> None:
    script.record("whale", content="whale 1", lost=True)
    script.read("whale", 1)
    script.end(whale=[""], zebra=0)
    check(script)


def test_a_list_may_see_a_later_avatar_and_not_an_earlier_light(script: Script) -> None:
    script.record("whale", 1, at=(20, 22))
    script.record("zebra", 1, at=(23, 24))
    script.list(whale=0, zebra=1, how={"at": (19, 25)})
    check(script)


def test_a_stale_read_may_be_allowed(script: Script) -> None:
    script.record("whale", 1)
    script.delete()
    script.read("whale", 0)
    script.list(whale=1, zebra=0)
    check(script, stale_reads=True)
    assert not judge(script.attempts, script.final).is_right


def test_a_stale_read_may_show_an_earlier_life_of_a_kata(script: Script) -> None:
    script.create(lost=True)
    script.record("whale", 1)
    script.delete()
    script.read("whale", 1)
    script.end()
    check(script, stale_reads=True)
    assert not judge(script.attempts, script.final).is_right


def test_katas_are_judged_each_by_itself(script: Script) -> None:
    other = "5A0F824303"
    script.create("other", other, "other files")
    script.start("whale", request="start whale", kata=other)
    script.record("whale", 1, kata=other)
    script.record("whale", 1)
    script.delete()
    script.end_without()
    script.end(other, "other files", whale=1)
    check(script)
