answer(Answer) :-
    Answer is 6 * 9.
