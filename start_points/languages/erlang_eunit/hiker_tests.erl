-module(hiker_tests).
-include_lib("eunit/include/eunit.hrl").

the_answer_to_life_the_universe_and_everything_test() ->
    ?assertEqual(42, hiker:answer()).
