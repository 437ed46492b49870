/* Sums into the scratchpad, packed into lines (`chip.rtl.matrix_results`). */
#include "matrix.h"

void results_offer(model *m, results *x) {
    if (x->out) port_ask(m, matrix_port(RESULTS), x->out_at, true);
}

void results_settle(model *m, struct matrix *x) {
    results *r = &x->writer;
    bool out_free = !r->out || m->ports[matrix_port(RESULTS)].granted;
    r->take = x->out && r->waiting.count && out_free && !r->flush;
    r->written = r->ended && r->out && out_free;
    r->silent = r->waiting.count && !QUEUE_HEAD(r->waiting).drain && r->pending && !r->closing;
    x->drain_free = !x->out || r->take;
    m->dispatch.queues[MATRIX].done = r->written || r->silent;
}

void results_clock(model *m, struct matrix *x) {
    results *r = &x->writer;
    bool out_free = !r->out || m->ports[matrix_port(RESULTS)].granted, flush = r->flush;
    const work *w = &QUEUE_HEAD(r->waiting);
    bool last = x->out_last, ends_row = r->take && x->out_tile == w->tiles - 1;
    uint64_t at = r->fresh ? w->out : r->at, row = r->fresh ? w->out : r->row;
    uint64_t span = (at & (r->line - 1)) + r->pitch[w->int8];
    bool crosses = span > r->line, writes = r->take && (span >= r->line || ends_row);
    bool drained = r->take && last;
    m->moved |= r->out || flush || r->take || r->silent || r->written;
    if (out_free) {
        r->out = writes || flush;
        r->ended = (r->take && ends_row && !crosses && last) || (flush && r->last);
        if (flush) {
            r->out_at = r->held_at;
            r->flush = false;
        }
    }
    if (r->take) {
        r->fresh = r->last = last;
        r->at = ends_row ? row + w->so : at + r->pitch[w->int8];
        if (ends_row) row += w->so;
        r->row = row;
        if (writes) {
            r->out_at = at & ~(r->line - 1);
            r->held_at = r->out_at + r->line;
            r->flush = crosses && ends_row;
        }
    }
    r->closing = drained || (r->closing && !r->written);
    r->pending += x->issued - (drained || r->silent);
    if (drained || r->silent) QUEUE_POP(r->waiting);
}
