#include "hiker.h"
#include <assert.h>
#include <stdio.h>

static void the_answer_to_life_the_universe_and_everything(void)
{
    assert(answer() == 42);
}

int main(void)
{
    the_answer_to_life_the_universe_and_everything();
    puts("All tests passed");
    return 0;
}
