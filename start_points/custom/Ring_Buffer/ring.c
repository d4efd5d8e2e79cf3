#include "ring.h"

void ring_clear(struct ring *ring)
{
    ring->count = 0;
}

bool ring_put(struct ring *ring, int number)
{
    if (ring->count == RING_SIZE - 1)
        return false;
    ring->numbers[(ring->oldest + ring->count) % RING_SIZE] = number;
    ring->count++;
    return true;
}

bool ring_take(struct ring *ring, int *number)
{
    if (ring->count == 0)
        return false;
    *number = ring->numbers[ring->oldest];
    if (ring->oldest++ > RING_SIZE)
        ring->oldest = 0;
    ring->count--;
    return true;
}
