// The implementation of Catch, which its headers only declare.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

int catch_main(int count, char **arguments)
{
    return Catch::Session().run(count, arguments);
}
