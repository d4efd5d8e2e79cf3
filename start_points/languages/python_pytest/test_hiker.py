import hiker


def test_the_answer_to_life_the_universe_and_everything():
    assert hiker.answer() == 42
