from behave import given, then, when

import hiker


@given("a hiker with a towel")
def has_a_towel(context):
    context.hiker = hiker


@when("the hiker asks for the answer")
def asks_for_the_answer(context):
    context.answer = context.hiker.answer()


@then("the answer is {expected:d}")
def has_the_answer(context, expected):
    assert context.answer == expected, f"the answer was {context.answer}"
