. ./hiker.sh

test_the_answer_to_life_the_universe_and_everything() {
    assertEquals 42 "$(answer)"
}

. shunit2
