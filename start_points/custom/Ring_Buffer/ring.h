#ifndef RING_H
#define RING_H

#include <stdbool.h>

#define RING_SIZE 4

struct ring
{
    int numbers[RING_SIZE];
    int oldest; /* where the oldest number is */
    int count;  /* how many numbers there are */
};

void ring_clear(struct ring *ring);
bool ring_put(struct ring *ring, int number);
bool ring_take(struct ring *ring, int *number);

#endif
