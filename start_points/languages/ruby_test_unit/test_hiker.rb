require "test/unit"
require_relative "hiker"

class TestHiker < Test::Unit::TestCase
  def test_the_answer_to_life_the_universe_and_everything
    assert_equal(42, answer)
  end
end
