#include <CppUTest/CommandLineTestRunner.h>
#include <CppUTest/TestHarness.h>

extern "C" {
#include "hiker.h"
}

TEST_GROUP(Hiker)
{
};

TEST(Hiker, AnswerToLifeTheUniverseAndEverything)
{
    LONGS_EQUAL(42, answer());
}

int main(int count, char **arguments)
{
    return CommandLineTestRunner::RunAllTests(count, arguments);
}
