/* Rows' blocks (`chip.rtl.matrix_activations`) and weights (`chip.rtl.matrix_weights`) from the scratchpad. */
#include "matrix.h"

/* Activations: an item a cycle, with a request where the row's last word does not have the block. */

enum { BLOCK = 32 };

void rows_offer(model *m, activations *x) {
    x->ask[0] = x->ask[1] = false;
    if (!x->waiting.count) return;
    const work *w = &QUEUE_HEAD(x->waiting);
    for (int n = 0; n < 2; n++) {
        if (x->fresh) x->at[n] = x->top[n] = n ? w->ascale : w->a;
        uint64_t lane = (x->at[n] & (uint64_t)(m->s.word_bytes - 1)) / (n ? 1 : BLOCK);
        x->ask[n] = x->step == 0 || lane < (uint64_t)w->groups; /* the row's last block was `groups` before */
        if (x->items.count < ITEMS && x->ask[n] && !x->sent[n]) port_ask(m, matrix_port(CODES + n), x->at[n], false);
    }
}

void rows_settle(model *m, activations *x) {
    const port *codes = &m->ports[matrix_port(CODES)], *scales = &m->ports[matrix_port(ROW_SCALES)];
    bool gone = (!x->ask[0] || x->sent[0] || codes->granted) && (!x->ask[1] || x->sent[1] || scales->granted);
    x->push = x->waiting.count && x->items.count < ITEMS && gone;
    const work *w = &QUEUE_HEAD(x->waiting);
    x->started = x->push && x->row == w->rows - 1 && x->step == 0;
    const item *due = &QUEUE_HEAD(x->items);
    x->take = x->items.count && (!x->out || x->taken);
    for (int n = 0; n < 2; n++)
        if (x->items.count && due->fetch[n]) x->take &= port_answers(m, matrix_port(CODES + n));
    for (int n = 0; n < 2; n++) m->ports[matrix_port(CODES + n)].taken = x->take && due->fetch[n];
}

void rows_clock(model *m, activations *x) {
    if (!x->out || x->taken) {
        m->moved |= x->out;
        x->out = x->take;
    }
    if (x->take) QUEUE_POP(x->items);
    m->moved |= x->take || x->push;
    if (!x->push) {
        for (int n = 0; n < 2; n++) x->sent[n] |= m->ports[matrix_port(CODES + n)].granted;
        return;
    }
    const work *w = &QUEUE_HEAD(x->waiting);
    bool ends_group = x->within == w->height - 1, ends_step = x->row == w->rows - 1;
    bool ends = ends_step && x->step == w->steps - 1;
    QUEUE_PUSH(x->items, ((item){{x->ask[0], x->ask[1]}}));
    for (int n = 0; n < 2; n++) {
        uint64_t size = n ? 1 : BLOCK;
        if (ends_step) x->at[n] = x->top[n] = x->top[n] + (uint64_t)w->groups * size;
        else x->at[n] += w->sa + (ends_group ? size : 0);
        x->sent[n] = false;
    }
    x->fresh = ends;
    x->row = ends_step ? 0 : x->row + 1;
    x->within = ends_step || ends_group ? 0 : x->within + 1;
    if (ends_step) x->step = ends ? 0 : x->step + 1;
    if (ends) QUEUE_POP(x->waiting);
}

/* Weights: lines ahead, units one a cycle. */

void weights_offer(model *m, weights *x, int port) {
    x->request = x->before.count && (!x->fresh || (x->may && x->behind.count < WAITING));
    if (!x->request) return;
    uint64_t line = x->fresh ? QUEUE_HEAD(x->before).at >> x->line_shift : x->asked;
    x->asked = line;
    port_ask(m, port, line << x->line_shift, false);
}

void weights_settle(model *m, weights *x, int port) {
    const stretch *s = &QUEUE_HEAD(x->behind);
    x->take = x->behind.count && port_answers(m, port) && (!x->out || x->taken);
    uint64_t following = (x->first ? s->at : x->went) + x->unit[s->int8];
    x->last = following == s->end;
    m->ports[port].taken = x->take && (x->last || !(following & (x->line - 1)));
}

void weights_clock(model *m, weights *x, int port, bool start) {
    bool go = x->request && m->ports[port].granted, begins = go && x->fresh;
    if (x->take) {
        const stretch *s = &QUEUE_HEAD(x->behind);
        x->went = (x->first ? s->at : x->went) + x->unit[s->int8];
        x->first = x->last;
        if (x->last) QUEUE_POP(x->behind);
    }
    m->moved |= x->take || go || start || (x->out && x->taken);
    if (x->take || x->taken) x->out = x->take;
    x->may += start - begins;
    if (!go) return;
    const stretch asking = QUEUE_HEAD(x->before);
    x->fresh = x->asked == (asking.end - 1) >> x->line_shift;
    x->asked++;
    if (begins) QUEUE_PUSH(x->behind, asking);
    if (x->fresh) QUEUE_POP(x->before);
}
