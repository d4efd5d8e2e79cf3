#ifndef GUIDE_INCLUDED
#define GUIDE_INCLUDED

class Guide
{
public:
    virtual ~Guide() = default;
    virtual void publish(int answer) = 0;
};

#endif
