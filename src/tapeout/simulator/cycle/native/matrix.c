/* The matrix engine by the times of its instruction's file. */
#include <stdlib.h>

#include "model.h"

struct matrix {
    int64_t free;                 /* the next command may start */
    int64_t ends[IN_FLIGHT];
    int first, count;
};

bool matrix_new(model *m) { return (m->matrix = calloc(1, sizeof(struct matrix))) != 0; }
void matrix_delete(model *m) { free(m->matrix); }
bool matrix_ready(const model *m) { return m->now >= m->matrix->free; }

void matrix_start(model *m, const command *c) {
    struct matrix *x = m->matrix;
    int64_t rows = (int64_t)(c->imm & 1023) + 1, height = (int64_t)(c->imm >> 10 & 1023) + 1;
    int64_t tiles = (int64_t)(c->imm >> 20 & 15) + 1, groups = (rows + height - 1) / height;
    int64_t beats = (int64_t)c->slots[7] * at_least(at_least(groups * tiles, rows), m->s.matrix_loop);
    x->free = m->now + beats;
    x->ends[(x->first + x->count++) % IN_FLIGHT] =
        m->now + 8 + beats + m->s.matrix_result + (c->imm >> 26 & 1 ? rows * tiles : 0);
}

void matrix_offer(model *m) {
    struct matrix *x = m->matrix;
    m->dispatch.queues[MATRIX].done = x->count && x->ends[x->first] <= m->now;
}

void matrix_settle(model *m) { (void)m; }

void matrix_clock(model *m) {
    struct matrix *x = m->matrix;
    m->why[MATRIX] = m->now < x->free ? ACTIVE : FILL;
    if (m->dispatch.queues[MATRIX].done) {
        x->first = (x->first + 1) % IN_FLIGHT;
        x->count--;
    }
    if (x->count) later(m, x->ends[x->first]);
    later(m, x->free);
}
