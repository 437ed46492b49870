/* The matrix engine's entrance, its steps and beats, and its drain (`chip.rtl.matrix_command`, `matrix_engine`). */
#include <stdlib.h>

#include "matrix.h"

bool matrix_new(model *m) {
    struct matrix *x = m->matrix = calloc(1, sizeof(struct matrix));
    if (!x) return false;
    const settings *s = &m->s;
    for (int k = 0; k < 2; k++) {
        x->codes.unit[k] = (uint64_t)s->beat_bytes[k];
        x->scales.unit[k] = (uint64_t)s->scale_bytes[k];
        x->writer.pitch[k] = (uint64_t)s->pitch[k];
    }
    x->codes.line = (uint64_t)(s->word_bytes * m->ports[matrix_port(WEIGHTS)].words);
    x->codes.line_shift = __builtin_ctzll(x->codes.line);
    x->scales.line = (uint64_t)(s->word_bytes * m->ports[matrix_port(SCALES)].words);
    x->scales.line_shift = __builtin_ctzll(x->scales.line);
    x->writer.line = (uint64_t)(s->word_bytes * m->ports[matrix_port(RESULTS)].words);
    x->rows.fresh = x->codes.fresh = x->codes.first = x->scales.fresh = x->scales.first = x->writer.fresh = true;
    for (int i = 0; i < 4; i++) x->history[i].at = -100;
    return true;
}

void matrix_delete(model *m) { free(m->matrix); }
bool matrix_ready(const model *m) { return m->matrix->phase == 0; }

enum { STEPS = 1 << 16, BLOCK_BYTES = 32 }; /* of a command at most; what addresses are multiples of */

/* Bytes `first` and `extent` on of each row are in the scratchpad. */
static bool inside(const model *m, uint64_t first, uint64_t stride, int64_t rows, int64_t extent) {
    int64_t step = (int64_t)(stride << 16) >> 16, low = (int64_t)first, last = low + (rows - 1) * step;
    return (last < low ? last : low) >= 0 && (last > low ? last : low) + extent <= m->s.pad_bytes;
}

/* What `chip.rtl.matrix_command` traps for, 0 for nothing. */
static enum cause wrong(const model *m, const work *w, int64_t beats) {
    const settings *s = &m->s;
    const struct matrix *x = m->matrix;
    if (w->steps < 1 || w->steps > STEPS || w->rows > s->rows || w->height > w->rows || w->tiles > s->tiles)
        return NOT_POSSIBLE;
    if ((w->a | w->ascale | w->sa | w->wscale | w->out | w->so) % BLOCK_BYTES || w->w % x->codes.unit[w->int8] ||
        w->wscale % x->scales.unit[w->int8])
        return MISALIGNED;
    int64_t blocks = w->steps * w->groups, sums = w->tiles * (int64_t)s->pitch[w->int8];
    bool there = inside(m, w->a, w->sa, w->rows, blocks * BLOCK_BYTES) &&
                 inside(m, w->ascale, w->sa, w->rows, blocks) &&
                 (!w->drain || inside(m, w->out, w->so, w->rows, sums)) &&
                 inside(m, w->w, 0, 1, beats * (int64_t)x->codes.unit[w->int8]) &&
                 inside(m, w->wscale, 0, 1, beats * (int64_t)x->scales.unit[w->int8]);
    return there ? 0 : OUTSIDE;
}

void matrix_start(model *m, const command *c) {
    struct matrix *x = m->matrix;
    work *w = &x->offered;
    const uint64_t *s = c->slots;
    x->phase = 1;
    *w = (work){.a = s[0], .ascale = s[1], .sa = s[2], .w = s[3], .wscale = s[4], .out = s[5], .so = s[6]};
    w->steps = (int64_t)s[7];
    w->rows = (int64_t)(c->imm & 1023) + 1, w->height = (int64_t)(c->imm >> 10 & 1023) + 1;
    w->tiles = (int64_t)(c->imm >> 20 & 1023) + 1;
    w->bank = c->imm >> 30 & 1, w->keep = c->imm >> 31 & 1, w->drain = c->imm >> 32 & 1, w->int8 = c->imm >> 33 & 1;
    w->groups = (w->rows + w->height - 1) / w->height;
    uint64_t beats = (uint64_t)(w->steps * w->groups * w->tiles);
    enum cause cause = wrong(m, w, (int64_t)beats);
    if (cause) {
        trap(m, cause);
        return;
    }
    w->w_end = w->w + beats * x->codes.unit[w->int8];
    w->wscale_end = w->wscale + beats * x->scales.unit[w->int8];
}

/* Rows of the beat at hand: [low, above). */
static int64_t above(const struct matrix *x, const work *w) { return x->low + w->height; }

static bool spaced(model *m, struct matrix *x, const step *now) {
    if (now->start && !now->of.keep) return true;
    for (int i = 0; i < 4; i++) {
        int64_t age = m->now - x->history[i].at;
        if (age >= m->s.matrix_loop || x->history[i].tile != x->tile || x->history[i].bank != now->of.bank) continue;
        if (x->history[i].low < above(x, &now->of) && x->low < x->history[i].above) {
            later(m, x->history[i].at + m->s.matrix_loop);
            return false;
        }
    }
    return true;
}

void matrix_offer(model *m) {
    struct matrix *x = m->matrix;
    step *now = &x->steps[x->issuing];
    rows_offer(m, &x->rows);
    weights_offer(m, &x->codes, matrix_port(WEIGHTS));
    weights_offer(m, &x->scales, matrix_port(SCALES));
    results_offer(m, &x->writer);
    x->ready = x->full[x->issuing] && !x->busy[now->of.bank] && spaced(m, x, now);
    x->fire = x->ready && x->codes.out && x->scales.out;
    x->codes.taken = x->scales.taken = x->fire;
    x->accepts = x->commands.count && !x->full[x->slot];
    x->rows.taken = x->accepts && x->rows.out;
    x->distributes = x->phase == CHECKS && x->rows.waiting.count < WAITING && x->codes.before.count < WAITING &&
                     x->scales.before.count < WAITING && x->commands.count < COMMANDS &&
                     x->writer.waiting.count < RESULTS_WAITING;
}

void matrix_settle(model *m) {
    struct matrix *x = m->matrix;
    rows_settle(m, &x->rows);
    weights_settle(m, &x->codes, matrix_port(WEIGHTS));
    weights_settle(m, &x->scales, matrix_port(SCALES));
    results_settle(m, x);
    step *now = &x->steps[x->issuing];
    bool last_beat = x->tile == now->of.tiles - 1 && above(x, &now->of) >= now->of.rows;
    x->issued = x->fire && last_beat && now->end;
}

/* Blocks into the slot that is free. */
static void block_clock(model *m, struct matrix *x) {
    if (!x->rows.taken) return;
    m->moved = true;
    const work *w = &QUEUE_HEAD(x->commands);
    if (++x->row < w->rows) return;
    bool end = x->loaded == w->steps - 1;
    x->row = 0;
    x->full[x->slot] = true;
    x->steps[x->slot] = (step){*w, x->loaded == 0, end};
    x->slot = !x->slot;
    x->loaded = end ? 0 : x->loaded + 1;
    if (end) QUEUE_POP(x->commands);
}

static void issue_clock(model *m, struct matrix *x) {
    if (!x->fire) return;
    step *now = &x->steps[x->issuing];
    const work *w = &now->of;
    int64_t top = above(x, w) < w->rows ? above(x, w) : w->rows;
    bool last_tile = x->tile == w->tiles - 1, last_beat = last_tile && above(x, w) >= w->rows;
    m->totals->matrix_beats++;
    m->row_beats = top - x->low;
    m->moved = true;
    x->fired = (x->fired + 1) % 4;
    x->history[x->fired].at = m->now, x->history[x->fired].tile = x->tile, x->history[x->fired].bank = w->bank;
    x->history[x->fired].low = x->low, x->history[x->fired].above = top;
    if (x->issued && w->drain) {
        x->busy[w->bank] = true;
        int at = (x->requests_first + x->requests_count++) % DELAYED;
        x->requests[at].at = m->now + m->s.matrix_result - 2;
        x->requests[at].of = *w;
    }
    x->tile = last_tile ? 0 : x->tile + 1;
    if (last_tile) x->low = last_beat ? 0 : above(x, w);
    if (last_beat) {
        x->full[x->issuing] = false;
        x->issuing = !x->issuing;
    }
}

static void drain_clock(model *m, struct matrix *x) {
    bool requested = x->requests_count && x->requests[x->requests_first].at == m->now, done = false;
    const work *w = &x->drains[0];
    if (x->drain_free) {
        m->moved |= x->out || x->drain_count;
        x->out = x->drain_count > 0;
        if (x->drain_count) {
            bool last_tile = x->drain_tile == w->tiles - 1;
            done = last_tile && x->drain_row == w->rows - 1;
            x->out_row = x->drain_row, x->out_tile = x->drain_tile, x->out_last = done;
            x->drain_tile = last_tile ? 0 : x->drain_tile + 1;
            if (last_tile) x->drain_row = done ? 0 : x->drain_row + 1;
        }
    }
    if (done) {
        x->busy[w->bank] = false;
        x->drains[0] = x->drains[1];
        x->drain_count--;
    }
    if (requested) {
        x->drains[x->drain_count++] = x->requests[x->requests_first].of;
        x->requests_first = (x->requests_first + 1) % DELAYED;
        x->requests_count--;
        m->moved = true;
    }
    if (x->requests_count) later(m, x->requests[x->requests_first].at);
}

static bool weights_rest(const weights *x) { return !x->before.count && !x->behind.count && !x->out; }

bool matrix_rests(const model *m) {
    const struct matrix *x = m->matrix;
    const results *r = &x->writer;
    return !x->phase && !x->rows.waiting.count && !x->rows.items.count && !x->rows.out && weights_rest(&x->codes) &&
           weights_rest(&x->scales) && !x->commands.count && !x->full[0] && !x->full[1] && !x->requests_count &&
           !x->drain_count && !x->out && !r->waiting.count && !r->flush && !r->out && !r->ended;
}

static void entrance_clock(model *m, struct matrix *x) {
    if (x->phase && x->phase < CHECKS) {
        x->phase++;
        m->moved = true;
    } else if (x->distributes) {
        const work *w = &x->offered;
        x->phase = 0;
        m->moved = true;
        QUEUE_PUSH(x->rows.waiting, *w);
        QUEUE_PUSH(x->codes.before, ((stretch){w->w, w->w_end, w->int8}));
        QUEUE_PUSH(x->scales.before, ((stretch){w->wscale, w->wscale_end, w->int8}));
        QUEUE_PUSH(x->commands, *w);
        QUEUE_PUSH(x->writer.waiting, *w);
    }
}

void matrix_clock(model *m) {
    struct matrix *x = m->matrix;
    uint8_t why = m->dispatch.queues[MATRIX].in_flight ? FILL : QUEUE_WAIT;
    for (int k = WEIGHTS; k <= ROW_SCALES; k++) {
        const port *p = &m->ports[matrix_port(k)];
        if (p->valid && !p->granted && p->credit) why = BANK_WAIT;
    }
    m->why[MATRIX] = x->fire ? ACTIVE : why;
    bool started = x->rows.started;
    results_clock(m, x);
    drain_clock(m, x);
    issue_clock(m, x);
    block_clock(m, x);
    rows_clock(m, &x->rows);
    weights_clock(m, &x->codes, matrix_port(WEIGHTS), started);
    weights_clock(m, &x->scales, matrix_port(SCALES), started);
    entrance_clock(m, x);
}
