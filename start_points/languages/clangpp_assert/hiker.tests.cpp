#include "hiker.hpp"
#include <cassert>
#include <iostream>

static void the_answer_to_life_the_universe_and_everything()
{
    assert(answer() == 42);
}

int main()
{
    the_answer_to_life_the_universe_and_everything();
    std::cout << "All tests passed\n";
}
