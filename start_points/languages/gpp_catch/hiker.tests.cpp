#include "hiker.hpp"
#include <catch2/catch.hpp>

TEST_CASE("the answer to life, the universe and everything")
{
    REQUIRE(answer() == 42);
}
