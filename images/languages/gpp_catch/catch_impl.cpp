// All of Catch that is not in its headers' declarations.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

int catch_main(int count, char **arguments)
{
    return Catch::Session().run(count, arguments);
}
