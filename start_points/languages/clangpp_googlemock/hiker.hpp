#ifndef HIKER_INCLUDED
#define HIKER_INCLUDED

#include "guide.hpp"

class Hiker
{
public:
    explicit Hiker(Guide& guide);
    int answer();

private:
    Guide& guide;
};

#endif
