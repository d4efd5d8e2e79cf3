PERL_TEST_HARNESS_DUMP_TAP=results prove --verbose -I. *.t
