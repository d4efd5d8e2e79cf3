// Older katas include Catch by this name, and have it compile all of itself into their tests.
// That takes longer than a run may; it was compiled already, and g++ links it.
#undef CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
