/* A program from its first cycle to its halt. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

bool matrix_new(model *m);
void matrix_delete(model *m);
void matrix_offer(model *m);
void matrix_settle(model *m);
void matrix_clock(model *m);
bool matrix_rests(const model *m);
bool vector_new(model *m);
void vector_delete(model *m);
void vector_offer(model *m);
void vector_settle(model *m);
void vector_clock(model *m);

bool vector_rests(const model *m);

/* What had been moved before a cycle. */
typedef struct { int64_t fetch, load, store, matrix, vector; } beats;

int64_t record_open(model *m, int engine, int32_t pc, int64_t queued) {
    if (!m->s.record) return -1;
    int64_t n = m->totals->records;
    if (n == m->record_room) {
        int64_t room = n ? 2 * n : 4096;
        record *more = realloc(m->records, (size_t)room * sizeof(record));
        if (!more) {
            m->totals->end = NO_MEMORY;
            return -1;
        }
        m->records = more;
        m->record_room = room;
    }
    m->records[n] = (record){.pc = pc, .engine = engine, .giver = -1, .queued = queued, .done = -1};
    m->totals->records = n + 1;
    return n;
}

static bool samples_reach(model *m, int64_t window) {
    if (window < m->sample_room) return true;
    int64_t room = 2 * window + 64;
    int32_t *more = realloc(m->samples, (size_t)room * SAMPLED * sizeof(int32_t));
    if (!more) return false;
    memset(more + m->sample_room * SAMPLED, 0, (size_t)((room - m->sample_room) * SAMPLED) * sizeof(int32_t));
    m->samples = more;
    m->sample_room = room;
    return true;
}

/* Words of memory's port by kind, and busy engines, in windows of equal length. */
static void sample(model *m, const beats *before, int64_t span) {
    const totals *t = m->totals;
    int64_t w = m->now / m->s.window;
    if (!samples_reach(m, (m->now + span) / m->s.window)) {
        m->totals->end = NO_MEMORY;
        return;
    }
    int32_t *at = m->samples + w * SAMPLED;
    at[0] += (int32_t)(t->fetch_beats - before->fetch);
    at[1] += (int32_t)(t->load_beats - before->load);
    at[2] += (int32_t)(t->store_beats - before->store);
    at[3] += (int32_t)(t->matrix_beats - before->matrix);
    m->totals->windows = (m->now + span) / m->s.window + 1;
}

/* What each engine spent the cycles from now on with, for its totals and its oldest instruction. */
static void account(model *m, int64_t span) {
    for (int e = SEQUENCER; e < ENGINES; e++) {
        queue *q = &m->dispatch.queues[e];
        int why = m->why[e];
        if (e && !q->in_flight) {
            if (q->waiting && !q->held && !q->able) why = SEMAPHORE_WAIT;
            else why = q->waiting || q->done ? FILL : QUEUE_WAIT;
        }
        if (why == SEMAPHORE_WAIT) {
            q->blocked += span; /* whose token it will be is known when it comes */
            continue;
        }
        m->totals->reasons[e][why] += span;
        if (!e || !q->in_flight) continue;
        record *r = record_at(m, q->flying[q->flying_first].entry);
        if (!r) continue;
        if (why == ACTIVE) r->active += span;
        else if (why == MEMORY_WAIT) r->memory += span;
        else if (why == BANK_WAIT) r->bank += span;
    }
}

/* The cycles from now on by operator: which row, and what they were. */
static void attribute(model *m, const beats *before, int64_t span) {
    const totals *t = m->totals;
    int64_t oldest = NEVER, pc = m->sequencer.running;
    bool in_flight = false;
    for (int e = LOAD; e < ENGINES; e++) {
        queue *q = &m->dispatch.queues[e];
        command *c = q->in_flight ? &q->flying[q->flying_first] : q->waiting ? &q->queue[q->first] : 0;
        in_flight |= q->in_flight > 0;
        if (c && c->number < oldest) {
            oldest = c->number;
            pc = c->pc;
        }
    }
    int64_t row = pc < m->s.count ? m->origin[pc] : m->s.operators;
    int64_t *at = m->table + (row < 0 || row > m->s.operators ? m->s.operators : row) * COLUMNS;
    int64_t loaded = t->load_beats - before->load, stored = t->store_beats - before->store;
    int64_t beats = t->matrix_beats - before->matrix;
    bool bank = false, memory = m->why[SEQUENCER] == MEMORY_WAIT;
    for (int e = LOAD; e < ENGINES; e++) {
        if (!m->dispatch.queues[e].in_flight) continue;
        bank |= m->why[e] == BANK_WAIT;
        memory |= m->why[e] == MEMORY_WAIT;
    }
    at[beats                                            ? BY_MATRIX
       : loaded || stored                               ? BY_MEMORY
       : t->vector_beats - before->vector         ? BY_VECTOR
       : bank                                           ? BY_BANK
       : memory                                         ? BY_LATENCY
       : in_flight                                      ? BY_PIPELINE
                                                        : BY_SEQUENCER] += span;
    at[WORDS_LOADED] += loaded;
    at[WORDS_STORED] += stored;
    at[BEATS] += beats;
    at[ROW_BEATS] += m->row_beats;
}

/* The sequencer has nothing to do until an engine gives a token or takes a command. */
static bool sequencer_rests(const model *m) {
    const sequencer *q = &m->sequencer;
    return (q->state == READY || q->state == EXECUTE) && m->now >= q->at && !m->fetch.flying;
}

/* A cycle. Blocks with nothing under way are left out: they would not change anything. */
static void cycle(model *m) {
    bool *on = m->awake;
    if (m->s.plain)
        for (int e = 0; e < ENGINES; e++) on[e] = true;
    bool steers = on[SEQUENCER];
    memory_offer(m);
    if (steers) {
        fetch_offer(m);
        sequencer_offer(m);
    } else m->fetch_fires = m->sequencer.takes_tokens = m->sequencer.finishes = false;
    dispatch_offer(m);
    if (on[LOAD]) load_offer(m);
    if (on[STORE]) store_offer(m);
    if (on[MATRIX]) matrix_offer(m);
    if (on[VECTOR]) vector_offer(m);
    scratchpad_offer(m);
    if (on[LOAD]) load_settle(m);
    if (on[STORE]) store_settle(m);
    if (on[MATRIX]) matrix_settle(m);
    if (on[VECTOR]) vector_settle(m);

    bool before = m->moved;
    if (steers) {
        m->moved = false;
        fetch_clock(m);
        sequencer_clock(m);
        on[SEQUENCER] = m->moved || !sequencer_rests(m);
        m->moved |= before;
    }
    for (int e = LOAD; e < ENGINES; e++)
        if (!on[e]) m->why[e] = resting(m, e);
    if (on[LOAD]) {
        load_clock(m);
        on[LOAD] = !load_rests(m);
    }
    if (on[STORE]) {
        store_clock(m);
        on[STORE] = !store_rests(m);
    }
    if (on[MATRIX]) {
        matrix_clock(m);
        on[MATRIX] = !matrix_rests(m);
    }
    if (on[VECTOR]) {
        vector_clock(m);
        on[VECTOR] = !vector_rests(m);
    }
    dispatch_clock(m);
    scratchpad_clock(m);
    memory_clock(m);
}

static void execute(model *m) {
    totals *t = m->totals;
    sequencer_start(m);
    m->awake[SEQUENCER] = true;
    t->end = -1;
    while (t->end < 0) {
        beats before = {t->fetch_beats, t->load_beats, t->store_beats, t->matrix_beats, t->vector_beats};
        m->moved = false;
        m->row_beats = 0;
        m->next = NEVER;
        cycle(m);
        int64_t span = m->moved ? 1 : m->next == NEVER ? 0 : m->next - m->now;
        if (t->end >= 0) span = 1;
        else if (!span) {
            t->end = STUCK;
            break;
        }
        account(m, span);
        attribute(m, &before, span);
        if (m->s.window) sample(m, &before, span);
        m->now += span;
        if (m->now > m->s.limit && t->end < 0) t->end = TOO_LONG;
    }
    t->cycles = m->now;
    t->pc = m->sequencer.running;
    t->cause = m->cause;
}

#define EXPORT __attribute__((visibility("default")))

/* Runs a program; returns a handle to what it recorded, or NULL without memory. */
EXPORT model *cycle_run(const settings *s, const uint64_t *program, const uint8_t *kinds, const uint64_t *reads,
                        int64_t read_count, const uint32_t *gathered, int64_t gathered_count,
                        const uint32_t *scattered, int64_t scattered_count, const int32_t *origin,
                        int64_t *table, totals *t) {
    model *m = calloc(1, sizeof(model));
    if (!m) return 0;
    memset(t, 0, sizeof *t);
    m->s = *s;
    m->program = program, m->kinds = kinds, m->totals = t;
    m->origin = origin, m->table = table;
    m->reads = reads, m->read_count = read_count;
    m->indices[0] = gathered, m->index_count[0] = gathered_count;
    m->indices[1] = scattered, m->index_count[1] = scattered_count;
    m->pad = calloc((size_t)s->pad_bytes / 8 + 1, 8);
    m->port_count = (int)s->ports;
    m->store_port = m->port_count - 1;
    m->word_shift = __builtin_ctzll((uint64_t)s->word_bytes);
    for (int k = 0; k < m->port_count; k++) {
        port *p = &m->ports[k];
        p->words = (int)s->port_words[k];
        p->urgent = s->port_urgent[k] != 0;
        p->credit = (int)s->port_answers[k];
        if (p->urgent) m->urgent |= 1u << k;
        else m->other[m->others++] = k;
    }
    if (m->pad && memory_new(m) && dma_new(m) && matrix_new(m) && vector_new(m)) execute(m);
    else t->end = NO_MEMORY;
    return m;
}

EXPORT const record *cycle_records(const model *m) { return m->records; }
EXPORT const int32_t *cycle_samples(const model *m) { return m->samples; }

EXPORT void cycle_free(model *m) {
    if (!m) return;
    memory_delete(m);
    dma_delete(m);
    matrix_delete(m);
    vector_delete(m);
    free(m->pad);
    free(m->records);
    free(m->samples);
    free(m);
}
