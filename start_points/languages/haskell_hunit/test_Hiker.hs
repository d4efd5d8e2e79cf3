import Hiker
import Test.HUnit

tests :: Test
tests = TestList
    [ "the answer to life, the universe and everything" ~: 42 ~=? answer
    ]

main :: IO Counts
main = runTestTT tests
