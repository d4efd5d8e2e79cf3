"""Each rule finds what a single storer would not have done, and says which calls show it."""

import pytest

from support.histories.attempts import (
    AVATARS_TAKEN,
    NO_SUCH_AVATAR,
    NO_SUCH_KATA,
    REQUEST_ID_REUSED,
    Attempt,
    Outcome,
    Reading,
    Seen,
    read,
    start_avatar,
)
from support.histories.checker import Verdict, judge
from support.histories.rules import search
from support.histories.rules.findings import Rule
from support.histories.simulated.script import KATA, Script


@pytest.fixture
def script() -> Script:
    """A history in which a kata was created and the whale and the zebra started."""
    script = Script()
    script.create()
    script.start("whale")
    script.start("zebra")
    return script


def check(script: Script, rule: Rule, *says: str) -> Verdict:
    """Check that this rule is broken, and no other one, and that the finding says why."""
    verdict = judge(script.attempts, script.final)
    assert {each.rule for each in verdict.findings} == {rule}, str(verdict)
    for text in says:
        assert text in str(verdict)
    assert not verdict.undecided
    return verdict


def test_an_acknowledged_light_is_lost(script: Script) -> None:
    script.record("whale", 1)
    script.record("whale", 2, at=(20, 21.5))
    script.record("whale", 3)
    script.end(whale=1, zebra=0)
    verdict = check(
        script,
        Rule.KEPT,
        "kata 493A06504A: light 2 of whale was recorded by 20.500 s",
        "RecordTest(whale, request record whale 2), sent at 19.000 s, over at 20.500 s",
        "but not before 23.500 s, as it was not shown (a read()",
        "And so on: 2 lights.",
    )
    assert len(verdict.findings) == 1


def test_an_acknowledged_avatar_is_lost(script: Script) -> None:
    script.record("zebra", 1)
    script.end(whale=0)
    check(script, Rule.KEPT, "zebra was started by")


def test_an_acknowledged_kata_is_lost(script: Script) -> None:
    script.end_without()
    check(script, Rule.KEPT, "the kata was deleted by", "but it never was, as nobody asked for it")


def test_a_kata_is_lost_that_nobody_deleted_before(script: Script) -> None:
    script.list(how={"refused": NO_SUCH_KATA})
    script.delete(lost=True)
    check(script, Rule.NOT_FOUND, "the kata was deleted by", "nobody asked for it before")


def test_a_deleted_kata_is_there_again(script: Script) -> None:
    script.record("whale", 1)
    script.delete()
    script.end(whale=1, zebra=0)
    check(script, Rule.STAYS_DELETED, "DeleteKata()", "but not before")


def test_a_deleted_kata_that_was_created_again_has_its_lights_again(script: Script) -> None:
    script.create(lost=True)
    script.record("whale", 1)
    script.delete()
    script.end(whale=1, zebra=0)
    check(script, Rule.STAYS_DELETED)


def test_a_light_is_recorded_in_a_deleted_kata(script: Script) -> None:
    script.delete()
    script.record("whale", 1)
    check(script, Rule.STAYS_DELETED, "RecordTest(whale")


def test_a_light_of_a_deleted_kata_was_asked_for_after_the_deletion(script: Script) -> None:
    script.record("whale", 2, at=(20, 40))
    script.delete(at=(20, 22))
    script.record("whale", content="too late", at=(30, 31), lost=True)
    says = "but light 1 of whale, which comes first, was not recorded before 29.000 s"
    check(script, Rule.STAYS_DELETED, "the kata was deleted by 21.000 s", says)


def test_a_kata_is_deleted_twice(script: Script) -> None:
    script.delete(at=(20, 25))
    script.delete(at=(20, 25))
    check(script, Rule.DELETED_ONCE)


def test_two_requests_get_the_same_number(script: Script) -> None:
    script.record("whale", 1, "one")
    script.record("whale", 1, "other")
    check(script, Rule.ONE_NUMBER, "light 1 of whale", "record one", "record other")


def test_two_requests_get_the_same_avatar(script: Script) -> None:
    script.start("whale", request="another")
    check(script, Rule.ONE_AVATAR, "several requests got whale")


def test_two_requests_get_the_same_kata(script: Script) -> None:
    script.create("another")
    check(script, Rule.ONE_KATA)


def test_a_request_gets_two_numbers(script: Script) -> None:
    script.record("whale", 1, "same")
    script.record("whale", 2, "same")
    check(script, Rule.ANSWERS, "one request got different answers")


def test_a_request_gets_two_katas() -> None:
    script = Script()
    script.create("same", "493A06504A")
    script.create("same", "5A0F824303")
    check(script, Rule.ANSWERS)


def test_a_request_gets_two_avatars(script: Script) -> None:
    for name in ("bat", "owl"):
        script.start(name, "bat", "owl", request="same")
    check(script, Rule.ANSWERS)


def test_a_light_gets_another_number_than_it_was_to_have(script: Script) -> None:
    script.record("whale", 1, expected=2)
    check(script, Rule.ANSWERS, "a light got a number that it can't have")


def test_an_avatar_is_none_of_those_that_would_do(script: Script) -> None:
    script.start("owl", "bat")
    check(script, Rule.ANSWERS, "an avatar that would not do")


def test_a_call_is_refused_as_another_would_be(script: Script) -> None:
    script.record("whale", content="any", refused=AVATARS_TAKEN)
    check(script, Rule.ANSWERS, "such a call is not refused like this")


def test_a_light_is_there_twice(script: Script) -> None:
    script.record("whale", 1)
    script.end(whale=["whale 1", "whale 1"], zebra=0)
    check(script, Rule.ONCE, "light 2 of whale is what was recorded once, as light 1")


def test_a_light_that_nobody_was_told_of_is_there_twice(script: Script) -> None:
    script.record("whale", content="lost", lost=True)
    script.record("whale", content="lost", lost=True)
    script.end(whale=["lost", "lost"], zebra=0)
    check(script, Rule.ONCE, "not as often as it is there")


def test_a_light_has_another_content(script: Script) -> None:
    script.record("whale", 1)
    script.end(whale=["zebra 1"], zebra=0)
    check(script, Rule.CONTENT, "light 1 of whale is not what was recorded")


def test_lights_have_each_others_numbers(script: Script) -> None:
    script.record("whale", 1)
    script.record("whale", 2)
    script.end(whale=["whale 2", "whale 1"], zebra=0)
    check(script, Rule.CONTENT, "light 1 of whale", "light 2 of whale")


def test_a_light_changes_between_reads(script: Script) -> None:
    script.record("whale", content="one", lost=True)
    script.record("whale", content="other", lost=True)
    script.read("whale", 1, {1: "one"})
    script.read("whale", 2, {1: "other"})
    check(script, Rule.CONTENT, "with different contents")


def test_a_kata_has_another_content(script: Script) -> None:
    script.end(content="others", whale=0, zebra=0)
    check(script, Rule.CONTENT, "the kata is not what was created")


def test_a_kata_changes_between_reads(script: Script) -> None:
    script.end(whale=0, zebra=0)
    script.end(content="others", whale=0, zebra=0)
    check(script, Rule.CONTENT, "the kata was shown with different contents")


def test_a_light_is_missing_among_others(script: Script) -> None:
    script.record("whale", 1)
    seen = Seen(3, {}, irregular=(2,))
    script.record("whale", 2)
    script.record("whale", 3)
    shown = Reading({"whale": seen})
    script.attempts.append(Attempt(read(KATA, "whale"), 30, 31, Outcome.ACKNOWLEDGED, shown))
    check(script, Rule.NO_GAPS, "missing, or there more than once (2)")


def test_an_avatar_is_damaged(script: Script) -> None:
    shown = Reading({"zebra": Seen(0)}, damaged=("whale",))
    script.attempts.append(Attempt(read(KATA), 30, 31, Outcome.ACKNOWLEDGED, shown))
    check(script, Rule.DAMAGED, "whale")


def test_a_number_is_passed_over(script: Script) -> None:
    script.record("whale", 1)
    script.record("whale", 3)
    check(script, Rule.NO_GAPS, "have made light 2 of whale, but there is light 3 of whale")


def test_nobody_recorded_a_light(script: Script) -> None:
    script.record("zebra", content="of the zebra", lost=True)
    script.end(whale=["of the zebra"], zebra=0)
    check(script, Rule.UNASKED, "nobody recorded what is light 1 of whale")


def test_nobody_started_an_avatar(script: Script) -> None:
    script.start("", "owl", request="lost", lost=True)
    script.end(whale=0, zebra=0, bat=0)
    check(script, Rule.UNASKED, "nobody started bat")


def test_nobody_created_a_kata() -> None:
    script = Script()
    script.create(lost=True, content="others")
    script.end()
    check(script, Rule.UNASKED, "nobody created the kata")


def test_what_was_refused_is_there_all_the_same(script: Script) -> None:
    script.record("whale", content="refused", expected=2, newest=0)
    script.end(whale=["refused"], zebra=0)
    check(script, Rule.UNASKED)


def test_an_earlier_light_was_asked_for_later(script: Script) -> None:
    script.record("whale", 2)
    script.record("whale", 1)
    check(
        script,
        Rule.ORDER,
        "light 2 of whale was recorded by",
        "but light 1 of whale, which comes first, was not recorded before",
    )


def test_a_light_was_there_before_it_was_asked_for(script: Script) -> None:
    script.read("whale", 1)
    script.record("whale", content="lost", lost=True)
    check(script, Rule.ORDER, "nobody else asked for it before")


def test_an_avatar_was_there_before_it_was_asked_for(script: Script) -> None:
    script.list(whale=0, zebra=0, bat=0)
    script.start("", "bat", request="lost", lost=True)
    check(script, Rule.ORDER, "bat was started by")


def test_a_kata_was_there_before_it_was_asked_for() -> None:
    script = Script()
    script.list()
    script.create()
    check(script, Rule.ORDER, "the kata was created by")


def test_a_read_does_not_show_a_light(script: Script) -> None:
    script.record("whale", 1)
    script.read("whale", 0)
    script.end(whale=1, zebra=0)
    check(script, Rule.SHOWN, "light 1 of whale was recorded by", "it was not shown (a read(whale)")


def test_a_list_does_not_show_an_avatar(script: Script) -> None:
    script.list(whale=0)
    check(script, Rule.SHOWN, "zebra was started by")


def test_a_later_read_shows_less(script: Script) -> None:
    script.record("whale", 1, at=(10, 50))
    script.read("whale", 1, at=(20, 21))
    script.read("whale", 0, at=(22, 23))
    check(script, Rule.SHOWN)


def test_a_kata_is_not_found_that_is_there(script: Script) -> None:
    script.record("whale", content="not found", refused=NO_SUCH_KATA)
    script.end(whale=0, zebra=0)
    check(script, Rule.NOT_FOUND)


def test_an_avatar_is_not_found_that_was_started(script: Script) -> None:
    script.record("whale", content="not found", refused=NO_SUCH_AVATAR)
    check(script, Rule.NOT_FOUND, "whale was started by")


def test_a_number_is_stale_that_was_the_next(script: Script) -> None:
    script.record("whale", 1)
    script.record("whale", content="refused", expected=2, newest=1)
    check(script, Rule.STALE, "it would have been the next light of whale")


def test_a_light_without_a_number_is_stale(script: Script) -> None:
    script.record("whale", content="refused", newest=0)
    check(script, Rule.STALE)


@pytest.mark.parametrize("newest", [0, 2])
def test_a_number_is_stale_as_another_was_never_the_newest(script: Script, newest: int) -> None:
    script.record("whale", 1)
    script.record("whale", content="refused", expected=4, newest=newest)
    script.record("whale", 2)
    check(script, Rule.STALE, f"light {newest} was told to be the newest")


def test_a_request_is_stale_that_was_done(script: Script) -> None:
    script.record("whale", content="whale 1", expected=1, lost=True)
    script.record("whale", 2)
    script.record("whale", content="whale 1", expected=1, newest=2)
    script.record("whale", 1, expected=1)
    check(script, Rule.STALE, "a request that had light 1 of whale was refused")


def test_avatars_are_taken_that_nobody_has(script: Script) -> None:
    script.start("", "whale", "bat", request="refused", refused=AVATARS_TAKEN)
    script.start("bat")
    check(script, Rule.TAKEN, "bat was started by")


def test_avatars_are_taken_although_one_is_the_callers_own(script: Script) -> None:
    script.start("whale", refused=AVATARS_TAKEN)
    check(script, Rule.TAKEN, "although whale was its own")


def test_a_call_was_refused_as_its_avatar_was_taken_and_nobody_else_asked(script: Script) -> None:
    script.start("", "bat", request="same", lost=True)
    script.start("", "bat", request="same", refused=AVATARS_TAKEN)
    check(script, Rule.UNASKED, "nobody started bat")


def test_an_avatar_was_there_while_its_request_still_wanted_another(script: Script) -> None:
    script.start("bat")
    script.start("", "owl", request="same", lost=True)
    script.list(whale=0, zebra=0, bat=0, owl=0)
    script.start("", "bat", request="same", refused=AVATARS_TAKEN)
    check(script, Rule.ORDER, "owl was started by")


def test_all_avatars_are_taken_and_few_were_asked_for(script: Script) -> None:
    call = start_avatar(KATA, (), "refused")
    refused = Attempt(call, 30, 31, Outcome.REFUSED, reason=AVATARS_TAKEN)
    script.attempts.append(refused)
    check(script, Rule.UNASKED, "nobody started alligator")


def test_a_request_id_is_reused_that_nobody_used(script: Script) -> None:
    script.record("whale", content="refused", refused=REQUEST_ID_REUSED)
    script.start("", "bat", request="refused", refused=REQUEST_ID_REUSED)
    script.create("refused", refused=REQUEST_ID_REUSED)
    verdict = check(script, Rule.REUSED, "no other request of whale has this id")
    assert len(verdict.findings) == 3


def test_a_request_id_is_reused_before_it_was_used(script: Script) -> None:
    script.record("whale", content="refused", request="id", refused=REQUEST_ID_REUSED)
    script.record("whale", 1, request="id")
    check(script, Rule.REUSED)


def test_a_request_id_is_reused_before_its_light_can_have_been_recorded(script: Script) -> None:
    script.record("whale", 2, "other", request="id", at=(10, 50))
    script.record("whale", content="refused", request="id", at=(12, 20), refused=REQUEST_ID_REUSED)
    script.record("whale", 1, at=(40, 45))
    check(script, Rule.REUSED, "light 2 of whale was recorded by 19.000 s")


def test_a_request_id_is_reused_that_another_request_had_not_used_yet(script: Script) -> None:
    script.record("whale", content="refused", request="id", refused=REQUEST_ID_REUSED)
    script.record("whale", content="later", request="id", lost=True)
    check(script, Rule.REUSED)


def test_a_request_id_is_reused_by_the_request_that_has_it(script: Script) -> None:
    script.record("whale", content="other", request="id", lost=True)
    script.record("whale", 1, "one", request="id")
    script.record("whale", content="one", request="id", refused=REQUEST_ID_REUSED)
    check(script, Rule.REUSED)


def test_different_requests_with_one_id_are_acknowledged(script: Script) -> None:
    script.record("whale", 1, "one", request="id")
    script.record("whale", 1, "other", request="id")
    check(script, Rule.REUSED, "different requests with one id")


def test_a_kata_is_created_again_from_something_else(script: Script) -> None:
    script.create(content="others")
    check(script, Rule.REUSED)


def test_a_better_avatar_was_free(script: Script) -> None:
    script.start("owl", "bat", "owl")
    script.start("bat")
    check(
        script,
        Rule.PASSED_OVER,
        "bat was started by 7.000 s, as owl was started instead (StartAvatar(",
        "but not before 8.000 s, as nobody asked for it before",
    )


def test_each_of_two_avatars_was_passed_over_for_the_other(script: Script) -> None:
    script.start("owl", "bat", "owl", at=(20, 30))
    script.start("bat", "owl", "bat", at=(20, 30))
    check(script, Rule.PASSED_OVER, "was started before the others")


def test_calls_without_an_answer_would_have_got_better_avatars(script: Script) -> None:
    script.start("", "bat", "owl", request="one", lost=True)
    script.start("", "bee", "crab", request="other", lost=True)
    script.end(whale=0, zebra=0, owl=0, crab=0)
    check(script, Rule.PASSED_OVER)


def test_a_call_without_an_answer_would_have_got_an_avatar_that_was_free(script: Script) -> None:
    script.start("", "bat", "owl", request="lost", lost=True)
    script.list(whale=0, zebra=0, owl=0)
    script.start("bat")
    check(script, Rule.PASSED_OVER, "no calls without an answer can have started owl")


def test_what_takes_too_many_steps_is_undecided(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.create(lost=True)
    script.delete()
    script.end(whale=0, zebra=0)
    monkeypatch.setattr(search.is_possible, "__defaults__", (0,))
    verdict = judge(script.attempts, script.final)
    assert not verdict.findings
    assert not verdict.is_right
    assert "wrong unless the kata was created again" in str(verdict)


def test_an_attempt_that_cannot_be_is_refused(script: Script) -> None:
    call = script.attempts[0].call
    for wrong in (
        Attempt(call, 2, 1, Outcome.UNKNOWN),
        Attempt(call, 1, 2, Outcome.ACKNOWLEDGED, 7),
        Attempt(call, 1, 2, Outcome.UNKNOWN, KATA),
        Attempt(call, 1, 2, Outcome.REFUSED, reason="STALE_NUMBER"),
        Attempt(read(KATA), 1, 2, Outcome.REFUSED, reason=NO_SUCH_AVATAR),
        Attempt(read(KATA, "bat"), 1, 2, Outcome.ACKNOWLEDGED, Reading({"owl": Seen(0)})),
    ):
        with pytest.raises(ValueError, match="Attempt"):
            judge([wrong])
