#include "hiker.hpp"
#include <gtest/gtest.h>

namespace {

TEST(Hiker, AnswerToLifeTheUniverseAndEverything)
{
    EXPECT_EQ(42, answer());
}

}
