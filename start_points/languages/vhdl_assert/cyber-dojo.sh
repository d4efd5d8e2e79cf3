# ghdl keeps a list of what it compiled. In /tmp the list is not a file of the sandbox.
OPTIONS='--std=08 --workdir=/tmp'
ghdl -a $OPTIONS hiker.vhdl hiker_test.vhdl && ghdl --elab-run $OPTIONS hiker_test
