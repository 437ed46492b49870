/* Queues of the engines and the tokens between them (`chip.rtl.sequencer_dispatch`). */
#include "model.h"

void matrix_start(model *m, const command *c);
void vector_start(model *m, const command *c);
bool matrix_ready(const model *m);
bool vector_ready(const model *m);
void load_start(model *m, const command *c);
void store_start(model *m, const command *c);

uint16_t available(const model *m) { return m->dispatch.some; }

void give(model *m, uint16_t signal, int engine) {
    dispatcher *d = &m->dispatch;
    for (unsigned left = signal; left; left &= left - 1) {
        int s = __builtin_ctz(left);
        d->tokens[s]++;
        d->giver[s] = (int8_t)engine;
        d->given_at[s] = m->now;
    }
    d->changed |= signal != 0;
}

void take(model *m, uint16_t wait) {
    for (unsigned left = wait; left; left &= left - 1) m->dispatch.tokens[__builtin_ctz(left)]--;
    m->dispatch.changed |= wait != 0;
}

int last_giver(const model *m, uint16_t wait) {
    int giver = SEQUENCER;
    int64_t last = -1;
    for (int s = 0; s < SEMAPHORES; s++)
        if (wait >> s & 1 && m->dispatch.given_at[s] > last) {
            last = m->dispatch.given_at[s];
            giver = m->dispatch.giver[s];
        }
    return giver;
}

bool dispatch_idle(const model *m) {
    for (int e = LOAD; e < ENGINES; e++)
        if (m->dispatch.queues[e].waiting || m->dispatch.queues[e].in_flight) return false;
    return true;
}

static bool engine_ready(const model *m, int e) {
    switch (e) {
    case LOAD: return m->load.address.state == A_IDLE;
    case STORE: return m->store.address.state == A_IDLE;
    case MATRIX: return matrix_ready(m);
    default: return vector_ready(m);
    }
}

void dispatch_offer(model *m) {
    uint16_t some = available(m);
    uint16_t before = m->sequencer.takes_tokens ? m->sequencer.wait : 0;
    for (int e = LOAD; e < ENGINES; e++) {
        queue *q = &m->dispatch.queues[e];
        uint16_t wait = q->queue[q->first].wait;
        q->done = false;
        q->able = q->waiting && !q->held && !(wait & ~some) && !(wait & before);
        if (q->able) before |= wait;
        q->fires = q->held && q->in_flight < IN_FLIGHT && engine_ready(m, e);
    }
}

static void begin(model *m, int e, const command *c) {
    switch (e) {
    case LOAD: load_start(m, c); break;
    case STORE: store_start(m, c); break;
    case MATRIX: matrix_start(m, c); break;
    default: vector_start(m, c);
    }
}

void dispatch_clock(model *m) {
    dispatcher *d = &m->dispatch;
    for (int e = LOAD; e < ENGINES; e++) {
        queue *q = &d->queues[e];
        if (q->able) {
            uint16_t wait = q->queue[q->first].wait;
            int giver = last_giver(m, wait);
            m->totals->reasons[e][SEMAPHORE_WAIT + giver] += q->blocked;
            q->blocked = 0;
            take(m, wait);
            q->held = true;
            record *r = record_at(m, q->queue[q->first].entry);
            if (r) {
                r->head = q->head_since;
                r->taken = m->now;
                r->giver = wait ? giver : -1;
            }
        }
        if (q->done) {
            command *c = &q->flying[q->flying_first];
            record *r = record_at(m, c->entry);
            if (r) r->done = m->now + 1;
            give(m, c->signal, e);
            q->flying_first = (q->flying_first + 1) % IN_FLIGHT;
            q->in_flight--;
        }
        if (q->fires) {
            command *c = &q->flying[(q->flying_first + q->in_flight++) % IN_FLIGHT];
            *c = q->queue[q->first];
            record *r = record_at(m, c->entry);
            if (r) r->start = m->now;
            q->first = (q->first + 1) % QUEUE;
            q->waiting--;
            q->head_since = m->now + 1;
            q->held = false;
            begin(m, e, c);
            m->awake[e] = true;
        }
        if (q->able | q->done | q->fires) m->moved = m->awake[SEQUENCER] = true;
    }
    if (!d->changed) return;
    d->changed = false;
    d->some = 0;
    for (int s = 0; s < SEMAPHORES; s++) {
        d->some |= (uint16_t)(d->tokens[s] > 0) << s;
        if (d->tokens[s] > 63) trap(m, TOKENS);
    }
}
