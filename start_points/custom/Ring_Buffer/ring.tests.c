#include "ring.h"
#include <assert.h>
#include <stdio.h>

static void the_oldest_number_is_taken_first(void)
{
    struct ring ring = { .oldest = 0 };
    int number = 0;
    ring_clear(&ring);
    assert(ring_put(&ring, 7));
    assert(ring_put(&ring, 8));
    assert(ring_take(&ring, &number) && number == 7);
    assert(ring_take(&ring, &number) && number == 8);
    assert(!ring_take(&ring, &number));
}

static void there_is_room_for_four(void)
{
    struct ring ring = { .oldest = 0 };
    int number = 0;
    ring_clear(&ring);
    for (int each = 1; each <= RING_SIZE; each++)
        assert(ring_put(&ring, each));
    assert(!ring_put(&ring, 5));
    assert(ring_take(&ring, &number) && number == 1);
}

static void it_goes_round(void)
{
    struct ring ring = { .oldest = 0 };
    int number = 0;
    ring_clear(&ring);
    for (int each = 0; each < 3 * RING_SIZE; each++)
    {
        assert(ring_put(&ring, each));
        assert(ring_take(&ring, &number) && number == each);
    }
}

int main(void)
{
    the_oldest_number_is_taken_first();
    there_is_room_for_four();
    it_goes_round();
    puts("All tests passed");
    return 0;
}
