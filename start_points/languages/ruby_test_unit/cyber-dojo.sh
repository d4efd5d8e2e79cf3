for test in test_*.rb; do set -- "$@" -r "./$test"; done
ruby "$@" -e ""
