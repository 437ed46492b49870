/* The vector engine by the times of its instruction's file. */
#include <stdlib.h>

#include "model.h"

struct vector {
    int64_t free;                 /* the next command may start */
    int64_t ends[IN_FLIGHT];
    int first, count;
};

bool vector_new(model *m) { return (m->vector = calloc(1, sizeof(struct vector))) != 0; }
void vector_delete(model *m) { free(m->vector); }
bool vector_ready(const model *m) { return m->now >= m->vector->free; }

void vector_start(model *m, const command *c) {
    struct vector *x = m->vector;
    int64_t n = (int64_t)c->slots[2], rows = (int64_t)c->slots[3];
    int64_t passes = at_least((n + m->s.vector_lanes - 1) / m->s.vector_lanes, 1) * rows;
    x->free = m->now + passes;
    x->ends[(x->first + x->count++) % IN_FLIGHT] = m->now + passes + 16;
}

void vector_offer(model *m) {
    struct vector *x = m->vector;
    m->dispatch.queues[VECTOR].done = x->count && x->ends[x->first] <= m->now;
}

void vector_settle(model *m) { (void)m; }

void vector_clock(model *m) {
    struct vector *x = m->vector;
    m->why[VECTOR] = m->now < x->free ? ACTIVE : FILL;
    if (m->dispatch.queues[VECTOR].done) {
        x->first = (x->first + 1) % IN_FLIGHT;
        x->count--;
    }
    if (x->count) later(m, x->ends[x->first]);
    later(m, x->free);
}
