use crate::hiker::answer;

#[test]
fn the_answer_to_life_the_universe_and_everything() {
    assert_eq!(42, answer());
}
