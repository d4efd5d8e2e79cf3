:- begin_tests(hiker).

test(the_answer_to_life_the_universe_and_everything) :-
    answer(Answer),
    Answer =:= 42.

:- end_tests(hiker).
