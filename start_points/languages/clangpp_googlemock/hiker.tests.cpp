#include "hiker.hpp"
#include <gmock/gmock.h>

namespace {

class MockGuide : public Guide
{
public:
    MOCK_METHOD(void, publish, (int answer), (override));
};

TEST(Hiker, PublishesTheAnswerToLifeTheUniverseAndEverything)
{
    MockGuide guide;
    EXPECT_CALL(guide, publish(42));
    Hiker(guide).answer();
}

}
