/* Load and store engines: pieces of runs between memory and scratchpad (`chip.rtl.dma_load`, `dma_store`). */
#include <stdlib.h>

#include "dma_address.h"

bool dma_new(model *m) {
    m->load.pieces = malloc((size_t)m->s.outstanding * sizeof(piece));
    m->store.ends = malloc((size_t)m->s.outstanding);
    return m->load.pieces && m->store.ends;
}

void dma_delete(model *m) {
    free(m->load.pieces);
    free(m->store.ends);
}

/* Loads. */

void load_start(model *m, const command *c) { address_start(m, &m->load.address, c, true); }

void load_offer(model *m) {
    loader *x = &m->load;
    turner *t = &x->array;
    t->busy = t->leaving || t->filled;
    address_offer(m, &x->address, !(x->has || x->out_valid || x->spare || x->count || t->busy));
    bool room = x->count < m->s.outstanding;
    bool asks = x->address.offers && x->address.piece.length;
    m->load_asks = asks && room;
    m->load_fires = m->load_asks && !m->fetch_fires; /* instructions first */
    x->address.accepted = x->address.offers && room && (m->load_fires || !asks);
    x->requests = x->out_valid || x->address.asks_index;
    if (x->address.asks_index) port_ask(m, PORT_LOAD, x->address.entry, false);
    else if (x->out_valid) port_ask(m, PORT_LOAD, x->out_word, true);
}

bool load_rests(const model *m) {
    const loader *x = &m->load;
    const addresser *a = &x->address;
    return a->state == A_IDLE && !a->has && !x->count && !x->has && !x->out_valid && !x->out_ends &&
           !x->array.leaving && !x->array.filled;
}

/* Rows into the transposer, words out of it (`chip.rtl.transpose_array`). */
static void turner_settle(const loader *x, turner *t) {
    bool row = x->has && x->took.turns && x->took.last;
    bool coming = x->has ? x->took.turns : x->count && x->pieces[x->first].turns;
    t->leaves_alone = t->leaving && (t->alone || !(t->filled || row || coming));
    t->row_ready = (!t->leaving || x->out_free) && !t->leaves_alone;
    t->takes = row && t->row_ready;
    t->word_valid = t->leaving && (row || t->leaves_alone);
    t->gives = t->word_valid && x->out_free;
}

static void turner_clock(model *m, loader *x, turner *t) {
    bool last_row = t->filled == TILE - 1;
    t->alone = t->leaves_alone;
    if (t->takes) t->places[t->filled] = x->took.pad;
    if (t->takes && last_row) t->at = 0;
    else if (t->gives) t->at++;
    if (t->gives && !t->left--) t->leaving = t->alone = false;
    if (t->takes) {
        t->filled = (t->filled + 1) % TILE;
        if (last_row) {
            uint64_t word = (uint64_t)m->s.word_bytes;
            uint64_t end = x->took.pad % word + (uint64_t)x->took.length;
            t->leaving = true;
            t->left = (int)(end / (word / TILE)) - 1;
            t->ends = x->took.ends;
        }
    }
    m->moved |= t->takes || t->gives;
}

void load_settle(model *m) {
    loader *x = &m->load;
    bool granted = m->ports[PORT_LOAD].granted, index_first = x->address.asks_index;
    x->leaves = !x->out_valid || (granted && !index_first);
    x->out_free = !x->spare;
    turner_settle(x, &x->array);
    bool row_free = x->array.row_ready || !x->took.last;
    uint64_t end = (x->took.pad & (uint64_t)(m->s.word_bytes - 1)) + (uint64_t)x->took.length;
    bool full = end == (uint64_t)m->s.word_bytes || x->took.last; /* others only join a word */
    x->free_ = !x->has || (x->took.turns ? row_free : (x->out_free || !full) && !x->array.busy);
    piece *head = &x->pieces[x->first];
    bool answered = m->r_valid && m->memory.r_id == 1;
    x->take = x->count && (answered || !head->length) && x->free_;
    if (x->take && head->length) m->r_taken = true;
    m->dispatch.queues[LOAD].done = x->out_ends && x->leaves;
    if (x->address.state == A_ANSWER && m->now >= x->address.at) m->ports[PORT_LOAD].taken = port_answers(m, PORT_LOAD);
}

void load_clock(model *m) {
    loader *x = &m->load;
    queue *q = &m->dispatch.queues[LOAD];
    turner *t = &x->array;
    bool granted = m->ports[PORT_LOAD].granted;
    uint8_t why = q->in_flight ? FILL : QUEUE_WAIT;
    if (x->count && !x->take && x->free_) why = MEMORY_WAIT;
    else if (x->address.offers && !x->address.accepted) why = MEMORY_WAIT;
    if (x->requests && !granted) why = BANK_WAIT;
    if (x->take) why = ACTIVE;
    m->why[LOAD] = why;
    arriving comes = {0};
    if (x->out_free) {
        bool goes = x->has && !x->took.turns && !t->busy;
        piece *p = &x->took;
        uint64_t word = (uint64_t)m->s.word_bytes, within = p->pad & (word - 1);
        bool full = within + (uint64_t)p->length == word || p->last;
        comes = (arriving){goes && full && p->length, goes && p->ends, p->pad - within};
        if (t->busy) comes = (arriving){t->word_valid, t->word_valid && t->ends && !t->left, t->places[t->at % TILE]};
        m->moved |= goes || comes.valid;
    }
    if (x->leaves) {
        m->moved |= x->out_valid || x->out_ends;
        if (x->spare) comes = x->behind;
        x->out_valid = comes.valid, x->out_ends = comes.ends, x->out_word = comes.word;
        x->spare = false;
    } else if (x->out_free && (comes.valid || comes.ends)) {
        x->behind = comes;
        x->spare = true;
    }
    turner_clock(m, x, t);
    if (x->free_) {
        m->moved |= x->has;
        x->has = x->take;
    }
    if (x->take) {
        x->took = x->pieces[x->first];
        if (x->took.length) m->totals->load_beats++;
        x->first = x->first + 1 == m->s.outstanding ? 0 : x->first + 1;
        x->count--;
        m->moved = true;
    }
    if (x->address.accepted) {
        int64_t at = x->first + x->count++;
        x->pieces[at >= m->s.outstanding ? at - m->s.outstanding : at] = x->address.piece;
        uint64_t word = ~(uint64_t)(m->s.port_bytes - 1) & REGISTER_MASK;
        if (m->load_fires) memory_read(m, 1, x->address.piece.memory & word);
    }
    address_clock(m, &x->address, granted && x->address.asks_index, m->ports[PORT_LOAD].taken);
}

/* Stores. */

void store_start(model *m, const command *c) { address_start(m, &m->store.address, c, false); }

bool store_rests(const model *m) {
    const storer *x = &m->store;
    const addresser *a = &x->address;
    return a->state == A_IDLE && !a->has && !x->count && !x->has && !x->out_valid && !x->ends_count;
}

void store_offer(model *m) {
    storer *x = &m->store;
    address_offer(m, &x->address, !x->count);
    bool room = x->count < STORE_PIECES, asks = x->address.offers && x->address.piece.length;
    if (x->address.asks_index) port_ask(m, m->store_port, x->address.entry, false);
    else if (asks && room) port_ask(m, m->store_port, x->address.piece.pad, false);
}

void store_settle(model *m) {
    storer *x = &m->store;
    port *p = &m->ports[m->store_port];
    bool room = x->count < STORE_PIECES, asks = x->address.offers && x->address.piece.length;
    x->address.accepted = x->address.offers && room && (!asks || p->granted);
    bool ends_ready = x->ends_count < m->s.outstanding;
    x->sent = x->out_valid && ends_ready;
    x->writes = x->sent && x->out_is_write;
    x->out_free = !x->out_valid || x->sent;
    piece *head = &x->pieces[x->first];
    bool free_ = !x->has || x->out_free;
    x->take = x->count && (port_answers(m, m->store_port) || !head->length) && free_;
    if (x->count) p->taken = x->take && head->length;
    else if (x->address.state == A_ANSWER && m->now >= x->address.at) p->taken = port_answers(m, m->store_port);
    uint8_t oldest = x->ends_count ? x->ends[x->ends_first] : 0;
    x->over = x->ends_count && (m->acknowledged || !(oldest & 2));
    m->dispatch.queues[STORE].done = x->over && oldest & 1;
}

void store_clock(model *m) {
    storer *x = &m->store;
    port *p = &m->ports[m->store_port];
    queue *q = &m->dispatch.queues[STORE];
    bool index_granted = p->granted && x->address.asks_index, index_came = p->taken && !x->count;
    uint8_t why = q->in_flight ? x->ends_count ? MEMORY_WAIT : FILL : QUEUE_WAIT;
    if (p->valid) why = p->granted ? ACTIVE : p->credit ? BANK_WAIT : MEMORY_WAIT;
    if (x->writes) why = ACTIVE;
    m->why[STORE] = why;
    if (x->over) {
        x->ends_first = x->ends_first + 1 == m->s.outstanding ? 0 : x->ends_first + 1;
        x->ends_count--;
        m->moved = true;
    }
    if (x->sent) {
        int64_t at = x->ends_first + x->ends_count++;
        x->ends[at >= m->s.outstanding ? at - m->s.outstanding : at] = (uint8_t)(x->out_ends | x->out_is_write << 1);
        if (x->writes) {
            memory_write(m, x->out_address);
            m->totals->store_beats++;
        }
        m->moved = true;
    }
    bool free_ = !x->has || x->out_free;
    if (x->out_free) {
        x->out_valid = x->has;
        x->out_ends = x->took.ends;
        x->out_is_write = x->took.length != 0;
        x->out_address = x->took.memory & ~(uint64_t)(m->s.port_bytes - 1) & REGISTER_MASK;
    }
    if (free_) x->has = x->take;
    if (x->take) {
        x->took = x->pieces[x->first];
        x->first = (x->first + 1) % STORE_PIECES;
        x->count--;
        m->moved = true;
    }
    if (x->has || x->out_valid) m->moved |= x->out_free; 
    if (x->address.accepted) x->pieces[(x->first + x->count++) % STORE_PIECES] = x->address.piece;
    address_clock(m, &x->address, index_granted, index_came);
}
