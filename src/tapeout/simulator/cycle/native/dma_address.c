/* Commands to runs, runs to pieces: two stages, a cycle each (`chip.rtl.dma_address`). */
#include "dma_address.h"

enum { INDEXED = 1, TRANSPOSED = 2 }; /* opcodes within the engine */

void address_start(model *m, addresser *x, const command *c, bool is_load) {
    const uint64_t *s = c->slots;
    x->is_load = is_load, x->indexed = c->opcode == INDEXED, x->turns = is_load && c->opcode == TRANSPOSED;
    x->base = s[1], x->size = s[2], x->n0 = s[3], x->s0 = s[4], x->split = s[5], x->s1 = s[6], x->pitch = s[7];
    x->inner = x->turns ? TILE : s[3], x->outer = x->indexed ? 1 : x->turns ? s[3] : s[5];
    x->row = x->run_memory = s[1], x->run_pad = s[0], x->entry = s[5];
    x->nothing = !s[3] || !x->outer || !s[2];
    x->panel = s[1], x->group = x->tile = s[0], x->columns = s[2], x->groups = s[2] / TILE, x->in_group = 0;
    x->fresh = true;
    x->state = x->indexed && !x->nothing ? A_INDEX : A_RUN;
    x->at = m->now + 1;
}

/* What a piece would be, and whether an index is asked for; `empty`: nothing is under way behind. */
void address_offer(model *m, addresser *x, bool empty) {
    const settings *s = &m->s;
    x->accepted = false;
    x->offers = x->has;
    x->asks_index = x->state == A_INDEX && m->now >= x->at && !x->has && (empty || !x->fresh);
    if (!x->has) return;
    const run *r = &x->now;
    uint64_t to_port = (uint64_t)s->port_bytes - (r->memory & (uint64_t)(s->port_bytes - 1));
    uint64_t to_word = (uint64_t)s->word_bytes - (r->pad & (uint64_t)(s->word_bytes - 1));
    uint64_t least = to_port < to_word ? to_port : to_word;
    bool ends_run = r->nothing || r->size <= least;
    x->piece = (piece){r->memory, r->pad, r->nothing ? 0 : (int32_t)(ends_run ? r->size : least), x->first, ends_run,
                       ends_run && (r->ends || r->nothing), r->turns && !r->nothing};
}

/* The run after this one. */
static void next_run(const model *m, addresser *x, bool last_inner, bool last_panel) {
    uint64_t word = (uint64_t)m->s.word_bytes, words = 32 * TILE / word; /* of a group */
    uint64_t next_row = x->row + x->s1, next_panel = x->panel + word, next_tile = x->tile + x->pitch;
    uint64_t next_group = x->group + x->split;
    bool turns = x->turns, row_ends = last_inner && last_panel;
    bool group_ends = x->in_group == words - 1, holds = !x->groups;
    x->inner = last_inner ? (turns ? TILE : x->n0) : x->inner - 1;
    x->outer -= row_ends;
    x->entry += 4;
    x->run_memory = row_ends ? next_row : last_inner ? next_panel : x->run_memory + x->s0;
    if (row_ends) x->row = next_row;
    uint64_t pad = x->run_pad;
    x->run_pad += turns ? word : x->pitch;
    if (!turns) return;
    x->in_group = group_ends ? 0 : x->in_group + 1;
    if (last_inner) {
        x->panel = last_panel ? next_row : next_panel;
        x->columns -= word;
    }
    if (row_ends) {
        x->run_pad = x->tile = x->group = next_tile;
        x->columns = x->size, x->groups = x->size / TILE, x->in_group = 0;
    } else if (holds || (group_ends && x->groups == 1)) {
        x->run_pad = pad; /* rows beyond the words there are */
        x->groups = 0;
    } else if (group_ends) {
        x->run_pad = x->group = next_group;
        x->groups--;
    }
}

static uint64_t index_of(model *m, const addresser *x) {
    int which = x->is_load ? 0 : 1;
    if (m->index_used[which] < m->index_count[which]) return m->indices[which][m->index_used[which]++];
    uint64_t held = m->pad[x->entry % (uint64_t)m->s.pad_bytes / 8];
    return x->entry & 4 ? held >> 32 : held & 0xFFFFFFFF;
}

void address_clock(model *m, addresser *x, bool index_granted, bool index_came) {
    bool leaves = x->accepted && x->piece.last;
    if (x->accepted) {
        m->moved = true;
        x->first = false;
        x->now.memory += (uint64_t)x->piece.length, x->now.pad += (uint64_t)x->piece.length;
        x->now.size -= (uint64_t)x->piece.length;
    }
    bool taken = x->state == A_RUN && m->now >= x->at && (!x->has || leaves);
    if (leaves) x->has = false;
    if (x->state != A_IDLE && m->now < x->at) {
        later(m, x->at);
        return;
    }
    if (x->state == A_INDEX && index_granted) {
        x->state = A_ANSWER;
        m->moved = true;
    } else if (x->state == A_ANSWER) {
        if (x->is_load) x->fresh = false;
        if (!index_came) return;
        x->run_memory = (x->base + index_of(m, x) * x->s0) & REGISTER_MASK;
        x->state = A_RUN;
        x->at = m->now + 5; /* four digits of the product */
        m->moved = true;
    } else if (taken) {
        m->moved = true;
        uint64_t word = (uint64_t)m->s.word_bytes;
        bool last_inner = x->inner == 1, last_panel = !x->turns || x->columns <= word;
        bool ends = last_inner && last_panel && x->outer == 1;
        uint64_t width = x->turns && x->columns > word ? word : x->turns ? x->columns : x->size;
        x->now = (run){x->run_memory, x->run_pad, width, ends, x->nothing, x->turns};
        x->has = x->first = true;
        next_run(m, x, last_inner, last_panel);
        if (ends || x->nothing) x->state = A_IDLE;
        else if (x->indexed) x->state = A_INDEX;
    }
}
