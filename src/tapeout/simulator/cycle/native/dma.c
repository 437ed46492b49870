/* Load and store engines: pieces of runs between memory and scratchpad (`chip.rtl.dma_address`, `dma_load`,
 * `dma_store`). */
#include <stdlib.h>

#include "model.h"

/* The address half. */

static void address_start(model *m, addresser *x, const command *c, bool is_load) {
    const uint64_t *s = c->slots;
    x->is_load = is_load;
    x->indexed = c->opcode == 1;
    x->base = s[1], x->size = s[2], x->n0 = s[3], x->s0 = s[4], x->s1 = s[6], x->pitch = s[7], x->entry = s[5];
    x->inner = s[3], x->outer = x->indexed ? 1 : s[5];
    x->row = x->run_memory = s[1], x->run_pad = s[0];
    x->fresh = true;
    bool nothing = !s[3] || !x->outer || !s[2];
    x->state = nothing ? A_NOTHING : x->indexed ? A_INDEX : A_CHECK;
    x->at = m->now + 1;
}

/* What a piece would be; `room`: behind it there is a place. */
static void address_offer(model *m, addresser *x, bool empty) {
    x->offers = x->asks_index = x->accepted = false;
    if (m->now < x->at) return;
    if (x->state == A_INDEX) x->asks_index = empty || !x->fresh;
    if (x->state != A_RUN && x->state != A_NOTHING) return;
    const settings *s = &m->s;
    piece *p = &x->now;
    int64_t to_port = s->port_bytes - (int64_t)(x->at_memory % (uint64_t)s->port_bytes);
    int64_t to_word = s->word_bytes - (int64_t)(x->at_pad % (uint64_t)s->word_bytes);
    p->length = (int32_t)at_most(at_most(to_port, to_word), x->left > INT32_MAX ? INT32_MAX : (int64_t)x->left);
    bool ends_run = x->left == (uint64_t)p->length;
    p->memory = x->at_memory, p->pad = x->at_pad, p->first = x->first, p->last = ends_run;
    p->ends = ends_run && x->inner == 1 && x->outer == 1;
    if (x->state == A_NOTHING) *p = (piece){0, 0, 0, false, true, true};
    x->offers = true;
}

static void address_clock(model *m, addresser *x, bool index_granted, bool index_came) {
    if (m->now < x->at) {
        later(m, x->at);
        return;
    }
    switch (x->state) {
    case A_INDEX:
        if (index_granted) {
            x->state = A_ANSWER;
            m->moved = true;
        }
        break;
    case A_ANSWER:
        if (x->is_load) x->fresh = false;
        if (index_came) {
            int which = x->is_load ? 0 : 1;
            int64_t i = m->index_used[which];
            uint64_t index = 0;
            if (i < m->index_count[which]) {
                index = m->indices[which][i];
                m->index_used[which]++;
            } else {
                uint64_t held = m->pad[x->entry % (uint64_t)m->s.pad_bytes / 8];
                index = x->entry & 4 ? held >> 32 : held & 0xFFFFFFFF;
            }
            x->run_memory = (x->base + index * x->s0) & REGISTER_MASK;
            x->state = A_CHECK;
            x->at = m->now + 5; /* four digits of the product */
            m->moved = true;
        }
        break;
    case A_CHECK:
        x->at_memory = x->run_memory, x->at_pad = x->run_pad, x->left = x->size, x->first = true;
        x->state = A_RUN;
        m->moved = true;
        break;
    case A_RUN:
    case A_NOTHING:
        if (!x->accepted) break;
        m->moved = true;
        if (x->now.ends) {
            x->state = A_IDLE;
            break;
        }
        x->at_memory += (uint64_t)x->now.length, x->at_pad += (uint64_t)x->now.length;
        x->left -= (uint64_t)x->now.length;
        x->first = false;
        if (!x->now.last) break;
        bool row = x->inner == 1;
        uint64_t next_row = x->row + x->s1;
        x->run_memory = (row ? next_row : x->run_memory + x->s0) & REGISTER_MASK;
        x->run_pad = (x->run_pad + x->pitch) & REGISTER_MASK;
        x->inner = row ? x->n0 : x->inner - 1;
        if (row) x->outer--, x->row = next_row;
        x->entry += 4;
        if (x->indexed) x->state = A_INDEX;
        else x->at_memory = x->run_memory, x->at_pad = x->run_pad, x->left = x->size, x->first = true;
        break;
    default: break;
    }
}

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
    address_offer(m, &x->address, !(x->has || x->out_valid || x->count));
    bool room = x->count < m->s.outstanding;
    bool asks = x->address.offers && x->address.now.length;
    m->load_asks = asks && room;
    m->load_fires = m->load_asks && !m->fetch_fires; /* instructions first */
    x->address.accepted = x->address.offers && room && (m->load_fires || !asks);
    x->requests = x->out_valid || x->address.asks_index;
    if (x->address.asks_index) port_ask(m, PORT_LOAD, x->address.entry % (uint64_t)m->s.pad_bytes, false);
    else if (x->out_valid) port_ask(m, PORT_LOAD, x->out_word, true);
}

void load_settle(model *m) {
    loader *x = &m->load;
    bool granted = m->ports[PORT_LOAD].granted, index_first = x->address.asks_index;
    x->out_free = !x->out_valid || (granted && !index_first);
    x->free_ = !x->has || x->out_free;
    piece *head = &x->pieces[x->first];
    bool answered = m->r_valid && m->memory.r_id == 1;
    x->take = x->count && (answered || !head->length) && x->free_;
    if (x->take && head->length) m->r_taken = true;
    m->dispatch.queues[LOAD].done = x->out_ends && x->out_free;
    if (x->address.state == A_ANSWER && m->now >= x->address.at) m->ports[PORT_LOAD].taken = port_answers(m, PORT_LOAD);
}

void load_clock(model *m) {
    loader *x = &m->load;
    queue *q = &m->dispatch.queues[LOAD];
    bool granted = m->ports[PORT_LOAD].granted;
    uint8_t why = q->in_flight ? FILL : QUEUE_WAIT;
    if (x->count && !x->take) why = x->free_ ? MEMORY_WAIT : BANK_WAIT;
    else if (x->address.offers && !x->address.accepted) why = MEMORY_WAIT;
    if (x->requests && !granted) why = BANK_WAIT;
    if (x->take) why = ACTIVE;
    m->why[LOAD] = why;
    if (x->out_free) {
        bool had = x->has;
        piece *t = &x->took;
        uint64_t word = (uint64_t)m->s.word_bytes, within = t->pad % word;
        bool full = within + (uint64_t)t->length == word || t->last;
        if (x->out_valid || had || x->out_ends) m->moved = true;
        x->out_valid = had && full && t->length;
        x->out_ends = had && t->ends;
        x->out_word = t->pad - within;
    }
    if (x->free_) x->has = x->take;
    if (x->take) {
        x->took = x->pieces[x->first];
        if (x->took.length) m->totals->load_beats++;
        x->first = x->first + 1 == m->s.outstanding ? 0 : x->first + 1;
        x->count--;
        m->moved = true;
    }
    if (x->address.accepted) {
        int64_t at = x->first + x->count++;
        x->pieces[at >= m->s.outstanding ? at - m->s.outstanding : at] = x->address.now;
        if (m->load_fires) memory_read(m, 1, x->address.now.memory & ~(uint64_t)(m->s.port_bytes - 1));
    }
    address_clock(m, &x->address, granted && x->address.asks_index, m->ports[PORT_LOAD].taken);
}

/* Stores. */

void store_start(model *m, const command *c) { address_start(m, &m->store.address, c, false); }

void store_offer(model *m) {
    storer *x = &m->store;
    address_offer(m, &x->address, !x->count);
    bool room = x->count < STORE_PIECES, asks = x->address.offers && x->address.now.length;
    if (x->address.asks_index) port_ask(m, PORT_STORE, x->address.entry % (uint64_t)m->s.pad_bytes, false);
    else if (asks && room) port_ask(m, PORT_STORE, x->address.now.pad, false);
}

void store_settle(model *m) {
    storer *x = &m->store;
    port *p = &m->ports[PORT_STORE];
    bool room = x->count < STORE_PIECES, asks = x->address.offers && x->address.now.length;
    x->address.accepted = x->address.offers && room && (!asks || p->granted);
    bool ends_ready = x->ends_count < m->s.outstanding;
    x->sent = x->out_valid && ends_ready;
    x->writes = x->sent && x->out_is_write;
    x->out_free = !x->out_valid || x->sent;
    piece *head = &x->pieces[x->first];
    bool free_ = !x->has || x->out_free;
    x->take = x->count && (port_answers(m, PORT_STORE) || !head->length) && free_;
    if (x->count) p->taken = x->take && head->length;
    else if (x->address.state == A_ANSWER && m->now >= x->address.at) p->taken = port_answers(m, PORT_STORE);
    uint8_t oldest = x->ends_count ? x->ends[x->ends_first] : 0;
    x->over = x->ends_count && (m->acknowledged || !(oldest & 2));
    m->dispatch.queues[STORE].done = x->over && oldest & 1;
}

void store_clock(model *m) {
    storer *x = &m->store;
    port *p = &m->ports[PORT_STORE];
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
        x->out_address = x->took.memory & ~(uint64_t)(m->s.port_bytes - 1);
    }
    if (free_) x->has = x->take;
    if (x->take) {
        x->took = x->pieces[x->first];
        x->first = (x->first + 1) % STORE_PIECES;
        x->count--;
        m->moved = true;
    }
    if (x->has || x->out_valid) m->moved |= x->out_free; 
    if (x->address.accepted) x->pieces[(x->first + x->count++) % STORE_PIECES] = x->address.now;
    address_clock(m, &x->address, index_granted, index_came);
}
