#define BOOST_TEST_MODULE Hiker
#include <boost/test/unit_test.hpp>

#include "hiker.hpp"

BOOST_AUTO_TEST_CASE(the_answer_to_life_the_universe_and_everything)
{
    BOOST_TEST(answer() == 42);
}
