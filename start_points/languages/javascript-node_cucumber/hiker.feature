Feature: the ultimate question

  Scenario: a hiker asks for the answer to life, the universe and everything
    Given a hiker with a towel
    When the hiker asks for the answer
    Then the answer is 42
