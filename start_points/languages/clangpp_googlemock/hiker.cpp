#include "hiker.hpp"

Hiker::Hiker(Guide& guide) : guide(guide)
{
}

int Hiker::answer()
{
    int answer = 6 * 9;
    guide.publish(answer);
    return answer;
}
