# ghdl keeps a list of what it compiled.
OPTIONS='--std=08 --workdir=/tmp'
ghdl -a $OPTIONS hiker.vhdl hiker_test.vhdl && ghdl --elab-run $OPTIONS hiker_test
