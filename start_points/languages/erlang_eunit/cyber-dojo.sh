# What a deleted file held is not to be tested any more.
rm -f *.beam
erlc -Wall *.erl || exit
erl -noshell -eval 'eunit:test({dir, "."}, [verbose]), halt().'
