# Modules of deleted files must not be tested any more.
rm -f *.beam
erlc -Wall *.erl || exit
erl -noshell -eval 'io:setopts([{encoding, unicode}]), eunit:test({dir, "."}, [verbose]), halt().'
