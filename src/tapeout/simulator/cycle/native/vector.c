/* The vector engine: a walk over rows and passes, operands through two read ports, results through a write port, one
 * instruction after another (`chip.rtl.vector_engine` and its parts). */
#include <stdlib.h>

#include "model.h"

enum kind_of_vector {
    V_QUICK, V_ADD, V_MUL, V_FUNCTION, V_SELECT, V_ROPE, V_SUM, V_GREATEST, V_QUANTISE, V_DEQUANTISE, V_CONVERT, V_TOPK,
    V_TAKE, V_UNARY_QUICK
};
enum { TAP_QUICK, TAP_ADD, TAP_MUL, TAP_CHAIN, TAP_FUNCTION, TAP_SUM, TAP_GREATEST, TAP_QUANTISE, TAP_TOPK, TAP_TAKE };
enum { STEPS_WAITING = 8, PENDING = 2, RESULTS = 64, BLOCK = 32, REDUCED = 32, LOOP = 4, TOGETHER = 4 };
enum { B_NONE, B_VECTOR, B_ROW, B_SCALES };

typedef struct {
    int kind, tap, second;
    bool rope, pairs, select, narrow, fp4, single; /* pairs: (2i, 2i + 1); single: an element a cycle */
    int64_t n, rows, half, k;
    int64_t a_bits;                    /* of an element of a */
    uint64_t a, b, out, sa, sb, so;
} prepared;

typedef struct { bool take[2], fire, gives, last; int64_t count; int row; } vstep;

struct vector {
    prepared next, now;
    bool waits, executing;
    /* the walk */
    bool walking, first, in_tail, had_part;
    int64_t row, left, step;
    int which, top;                    /* of rows that are summed in turn: this one, and the last */
    uint64_t places[TOGETHER];         /* where each goes on */
    uint64_t a, b, upper, sines;       /* b and sines: in 32nds of a byte */
    vstep steps[STEPS_WAITING];
    int steps_first, steps_count;
    uint64_t pending[2][PENDING];
    int pending_count[2];
    int64_t part;                      /* elements of the step that were taken */
    int64_t gathered, serves;          /* elements of a block; until when top-k gives a row's results */
    int64_t beats[TOGETHER], added[TOGETHER][REDUCED], row_ended; /* of sums: a row's beats; when partials had one */
    /* results on their way: when they can be written */
    int64_t results[RESULTS];
    int results_first, results_count;
    /* the writer */
    bool writing, odd, crossed, scales_full, write_tail;
    int64_t write_row, write_left, filled;
    uint64_t at, write_upper, scale_at;
    /* of this cycle */
    vstep offered;
    uint64_t addresses[2];
    bool go, part_step, step_ends, row_ends, joins, turn_ends, rows_end, arrived, consume, taken, writes, ending, starts;
};

bool vector_new(model *m) { return (m->vector = calloc(1, sizeof(struct vector))) != 0; }
void vector_delete(model *m) { free(m->vector); }
static int vport(const model *m, int k) { return (int)m->s.vector_port + k; }

static uint64_t width(const model *m) {
    return (uint64_t)m->s.word_bytes * (uint64_t)m->ports[m->s.vector_port].words;
}

void vector_start(model *m, const command *c) {
    struct vector *x = m->vector;
    prepared *p = &x->next;
    const uint64_t *s = c->slots;
    int kind = (int)m->s.vector_kind[c->opcode & 31];
    *p = (prepared){.kind = kind, .a = s[0], .out = s[1], .n = (int64_t)s[2], .rows = (int64_t)s[3], .sa = s[4],
                    .so = s[5], .b = s[6], .sb = s[7], .a_bits = 32};
    static const int taps[] = {TAP_QUICK, TAP_ADD, TAP_MUL, TAP_FUNCTION, TAP_QUICK, TAP_CHAIN, TAP_SUM, TAP_GREATEST,
                               TAP_QUANTISE, TAP_QUICK, TAP_QUICK, TAP_TOPK, TAP_TAKE, TAP_QUICK};
    p->tap = taps[kind];
    int from = (int)(c->imm >> 32 & 3), format = (int)(c->imm >> 32 & 1);
    switch (kind) {
    case V_QUICK: case V_ADD: case V_MUL: p->second = from == 0 ? B_VECTOR : from == 1 ? B_ROW : B_NONE; break;
    case V_SELECT: p->select = true, p->second = B_VECTOR; break;
    case V_ROPE:
        p->rope = true, p->second = B_VECTOR;
        p->half = (int64_t)(c->imm & 0xFFFF), p->pairs = c->imm >> 16 & 1;
        break;
    case V_QUANTISE: p->fp4 = !format, p->n = (p->n + BLOCK - 1) / BLOCK * BLOCK; break;
    case V_DEQUANTISE: p->second = B_SCALES, p->a_bits = format ? 8 : 4; break;
    case V_CONVERT:
        p->a_bits = (c->imm & 3) == 0 ? 16 : (c->imm & 3) == 1 ? 32 : 8;
        p->narrow = (c->imm & 3) == 1;
        break;
    case V_TOPK: p->single = true, p->k = (int64_t)(c->imm & 63) + 1; break;
    case V_TAKE: p->single = true, p->second = B_VECTOR; break;
    default: break;
    }
    x->waits = true;
}

bool vector_ready(const model *m) { return !m->vector->waits; }

bool vector_rests(const model *m) { return !m->vector->executing && !m->vector->waits && !m->vector->taken; }

static bool reduces(const prepared *p) { return p->kind == V_SUM || p->kind == V_GREATEST; }

static int64_t reduced(const model *m) { return at_most(REDUCED, m->s.vector_lanes); }
/* Elements of a pass. */
static int64_t pass_of(const model *m, const prepared *p) { return reduces(p) ? reduced(m) : m->s.vector_lanes; }
/* Rows that are summed in turn. */
static int together(const model *m, const prepared *p) {
    return p->kind == V_SUM ? (int)at_least(LOOP * reduced(m) / REDUCED, 1) : 1;
}

/* Whether the adders can take a beat of a sum: its partials are there, and there is room for what a row gives. */
static bool sums_ready(model *m, const struct vector *x, const vstep *d) {
    int64_t pieces = REDUCED / reduced(m), beat = x->beats[d->row], when = 0;
    if (beat >= pieces) when = x->added[d->row][beat % pieces] + LOOP;
    if (d->last) when = at_least(when, x->row_ended + at_least(pieces / 2, 1));
    later(m, when);
    return m->now >= when && !(d->last && x->results_count >= m->s.vector_sums);
}

static void walk_row(struct vector *x, int64_t row) {
    const prepared *p = &x->now;
    uint64_t r = (uint64_t)row;
    x->row = row, x->first = true, x->step = 0, x->had_part = false;
    x->a = p->a + r * p->sa, x->b = (p->b + r * p->sb) * BLOCK;
    x->upper = p->select ? p->out + r * p->so : x->a + 4 * (uint64_t)p->half;
    x->sines = x->b + 4 * (uint64_t)p->half * BLOCK;
    x->in_tail = p->rope && !p->half;
    x->left = p->rope && p->half ? (p->pairs ? 2 * p->half : p->half) : p->n;
}

static void write_row(struct vector *x, int64_t row) {
    const prepared *p = &x->now;
    uint64_t r = (uint64_t)row;
    x->write_row = row, x->odd = false;
    x->at = p->out + r * p->so, x->write_upper = x->at + 4 * (uint64_t)p->half;
    x->write_tail = p->rope && !p->half;
    x->write_left = reduces(p)          ? 1
                    : p->kind == V_TOPK ? p->k
                    : p->rope && p->half ? (p->pairs ? 2 * p->half : p->half)
                                        : p->n;
    if (p->kind == V_QUANTISE) x->scale_at = p->b + r * p->sb;
}

static void offer_step(model *m, struct vector *x) {
    const prepared *p = &x->now;
    int64_t lanes = m->s.vector_lanes;
    bool rope = p->rope && !x->in_tail, split = rope && !p->pairs;
    int64_t last = split ? 3 : rope || p->select ? 1 : 0;
    int64_t taken = pass_of(m, p), count = at_most(x->left, taken);
    bool some = x->left > 0, need[2];
    need[0] = some && p->kind != V_TAKE && (x->step == 0 || (x->step == 1 && !(rope && p->pairs)));
    bool each = p->second == B_VECTOR || p->second == B_SCALES;
    need[1] = some && !x->in_tail &&
              ((x->step == 0 && (each || (p->second == B_ROW && x->first))) || (x->step == 1 && rope));
    uint64_t at[2] = {x->step == 0 ? x->a : x->upper, (x->step == 0 ? x->b : x->sines) / BLOCK}, w = width(m);
    uint64_t pass = 4 * (uint64_t)lanes;
    uint64_t size[2] = {(uint64_t)(taken * p->a_bits / 8), p->second != B_VECTOR ? 0 : rope && p->pairs ? pass / 2 : pass};
    bool crosses[2] = {false, false};
    if (pass > BLOCK)
        for (int i = 0; i < 2; i++) crosses[i] = need[i] && (at[i] & (w - 1)) + size[i] > w;
    x->part_step = (crosses[0] || crosses[1]) && !x->had_part;
    vstep *d = &x->offered;
    for (int i = 0; i < 2; i++) {
        d->take[i] = x->part_step ? crosses[i] : need[i];
        x->addresses[i] = (at[i] & ~(w - 1)) + (crosses[i] && x->had_part ? w : 0);
    }
    d->fire = !x->part_step && !(p->select && x->step == 0);
    d->gives = d->fire && (!rope || (split ? x->step >= 2 : x->step == 1));
    x->step_ends = x->step == last && !x->part_step;
    bool more = x->left > taken;
    x->row_ends = x->step_ends && !more && (!rope || p->n == 2 * p->half);
    d->last = x->row_ends, d->row = x->which;
    int places = together(m, p);
    x->joins = places > 1 && x->first && x->which != places - 1 && x->row < p->rows - 1;
    x->turn_ends = places == 1 || (x->first ? !x->joins : x->which == x->top);
    x->rows_end = x->row_ends && x->turn_ends && x->row == p->rows - 1;
    d->count = count > 0 ? count : 0;
    x->go = x->steps_count < STEPS_WAITING && x->pending_count[0] < PENDING && x->pending_count[1] < PENDING;
}

void vector_offer(model *m) {
    struct vector *x = m->vector;
    x->go = false;
    x->starts = x->waits && !x->executing; /* or when this one ends: see `vector_settle` */
    if (x->walking) offer_step(m, x);
    for (int i = 0; i < 2; i++) {
        if (x->pending_count[i]) port_ask(m, vport(m, i), x->pending[i][0], false);
        else if (x->go && x->offered.take[i]) port_ask(m, vport(m, i), x->addresses[i], false);
    }
    bool ready = x->results_count && x->results[x->results_first] <= m->now;
    x->writes = x->writing && (x->scales_full || ready);
    if (!x->writes) return;
    uint64_t w = width(m), at = x->scales_full ? x->scale_at : x->odd ? x->write_upper : x->at;
    port_ask(m, vport(m, 2), (at & ~(w - 1)) + (!x->scales_full && x->crossed ? w : 0), true);
}

static int64_t write_bytes(const model *m, const struct vector *x) {
    const prepared *p = &x->now;
    int64_t groups = at_least(m->s.vector_lanes / BLOCK, 1);
    if (reduces(p)) return 4;
    if (p->kind == V_QUANTISE) return at_most(x->write_left, BLOCK * groups) / (p->fp4 ? 2 : 1);
    return at_most(x->write_left, m->s.vector_lanes) * (p->narrow ? 2 : 4);
}

void vector_settle(model *m) {
    struct vector *x = m->vector;
    const prepared *p = &x->now;
    /* operands */
    const vstep *d = &x->steps[x->steps_first];
    bool sums = p->kind == V_SUM, room = x->results_count <= m->s.vector_latency[TAP_FUNCTION];
    x->arrived = x->steps_count && (sums || room) && m->now >= x->serves;
    later(m, x->serves);
    for (int i = 0; i < 2; i++)
        if (x->steps_count && d->take[i]) x->arrived &= port_answers(m, vport(m, i));
    if (sums && x->steps_count && d->fire) x->arrived &= sums_ready(m, x, d);
    int64_t each = p->single ? 1 : d->count;
    bool whole = !d->fire || x->part + each >= d->count;
    x->consume = x->arrived && whole;
    for (int i = 0; i < 2; i++) m->ports[vport(m, i)].taken = x->consume && d->take[i];
    /* results */
    bool accepted = x->writes && m->ports[vport(m, 2)].granted;
    bool walked = !x->walking || (x->go && x->rows_end);
    bool written = !x->writing;
    if (accepted && x->writing) {
        int64_t bytes = write_bytes(m, x);
        bool quantise = p->kind == V_QUANTISE, split = p->rope && !p->pairs && !x->write_tail;
        uint64_t w = width(m), at = (x->odd ? x->write_upper : x->at) & (w - 1);
        bool crosses = 4 * m->s.vector_lanes > BLOCK && !x->crossed && !x->scales_full && at + (uint64_t)bytes > w;
        int64_t per = reduces(p) ? 1 : quantise ? BLOCK * at_least(m->s.vector_lanes / BLOCK, 1) : m->s.vector_lanes;
        bool ends = !crosses && (x->odd || !split) && x->write_left <= per &&
                    (!(p->rope && !x->write_tail) || p->n == 2 * p->half);
        bool last = x->write_row == p->rows - 1;
        written = quantise ? x->scales_full && x->write_row == p->rows : ends && last;
    }
    x->ending = x->executing && walked && written;
    if (x->ending && x->waits && !x->walking) x->starts = true; /* its first row has gone in after the walk */
}

/* A step's elements have been taken: when what they make can be written. */
static void result_at(model *m, struct vector *x, int64_t when) {
    if (x->results_count) {
        int64_t before = x->results[(x->results_first + x->results_count - 1) % RESULTS];
        when = at_least(when, before);
    }
    x->results[(x->results_first + x->results_count++) % RESULTS] = when;
    later(m, when);
}

static void operands_clock(model *m, struct vector *x) {
    if (!x->arrived) return;
    const prepared *p = &x->now;
    const vstep *d = &x->steps[x->steps_first];
    int64_t latency = m->s.vector_latency[p->tap];
    m->moved = true;
    m->totals->vector_beats++;
    if (d->fire && p->single) x->part++;
    if (d->fire && p->kind == V_SUM) {
        int64_t beat = x->beats[d->row]++, pieces = REDUCED / reduced(m);
        x->added[d->row][beat % pieces] = m->now;
        if (d->last) x->beats[d->row] = 0, x->row_ended = m->now;
    }
    if (p->kind == V_TAKE && d->fire) { /* half of operands over two words makes nothing */
        if (x->part % m->s.vector_lanes == 0 || (d->last && x->consume)) result_at(m, x, m->now + latency);
    }
    if (!x->consume) return;
    x->part = 0;
    if (d->gives) {
        if (reduces(p)) {
            if (d->last) result_at(m, x, m->now + latency);
        } else if (p->kind == V_QUANTISE) {
            x->gathered += m->s.vector_lanes;
            if (x->gathered >= BLOCK) {
                result_at(m, x, m->now + latency);
                x->gathered = 0;
            }
        } else if (p->kind == V_TOPK) {
            if (d->last) x->serves = m->now + p->k + 2; /* a row after the other */
            for (int64_t i = 0; d->last && i < p->k; i += m->s.vector_lanes)
                result_at(m, x, m->now + latency + at_most(p->k, i + m->s.vector_lanes));
        } else if (!p->single) result_at(m, x, m->now + latency);
    }
    x->steps_first = (x->steps_first + 1) % STEPS_WAITING;
    x->steps_count--;
}

/* The pass of one of several rows has been made: another row's is next, or a new turn. */
static void take_turns(const model *m, struct vector *x) {
    x->places[x->which] = x->a + 4 * (uint64_t)reduced(m);
    if (x->first && x->turn_ends) x->top = x->which;
    if (x->rows_end) {
        x->walking = false;
        return;
    }
    bool starts = x->joins || (x->row_ends && x->turn_ends);
    x->which = x->turn_ends ? 0 : x->which + 1;
    if (starts) walk_row(x, x->row + 1);
    else {
        if (x->turn_ends) x->first = false, x->left -= reduced(m);
        x->a = x->places[x->which], x->had_part = false;
    }
}

static void walk_clock(model *m, struct vector *x) {
    const prepared *p = &x->now;
    for (int i = 0; i < 2; i++) {
        bool asked = x->go && x->offered.take[i], granted = m->ports[vport(m, i)].granted;
        if (granted && x->pending_count[i]) {
            x->pending[i][0] = x->pending[i][1];
            x->pending_count[i]--;
            granted = false;
        }
        if (asked && !granted) x->pending[i][x->pending_count[i]++] = x->addresses[i];
    }
    if (!x->go) return;
    m->moved = true;
    int64_t lanes = m->s.vector_lanes, taken = pass_of(m, p);
    if (p->n || reduces(p)) x->steps[(x->steps_first + x->steps_count++) % STEPS_WAITING] = x->offered;
    x->had_part = x->part_step;
    if (!x->part_step) x->step = x->step_ends ? 0 : x->step + 1;
    if (!x->step_ends) return;
    bool rope = p->rope && !x->in_tail, more = x->left > taken;
    if (together(m, p) > 1) {
        take_turns(m, x);
        return;
    }
    x->first = false;
    x->left -= taken;
    x->a += (uint64_t)(taken * p->a_bits / 8), x->upper += 4 * (uint64_t)lanes;
    if (p->second != B_ROW) {
        uint64_t by = (uint64_t)(p->second == B_SCALES ? lanes : rope && p->pairs ? 64 * lanes : 128 * lanes);
        x->b += by, x->sines += by;
    }
    if (!more && rope && p->n > 2 * p->half) {
        x->in_tail = true;
        x->a = p->a + (uint64_t)x->row * p->sa + 8 * (uint64_t)p->half;
        x->left = p->n - 2 * p->half;
    }
    if (!x->row_ends) return;
    if (x->row < p->rows - 1) walk_row(x, x->row + 1);
    else x->walking = false;
}

static void writer_clock(model *m, struct vector *x) {
    if (!x->writes || !m->ports[vport(m, 2)].granted) return;
    const prepared *p = &x->now;
    int64_t lanes = m->s.vector_lanes, groups = at_least(lanes / BLOCK, 1);
    bool quantise = p->kind == V_QUANTISE;
    m->moved = true;
    if (x->scales_full) {
        x->scales_full = false;
        x->scale_at += 8;
        if (x->write_row == p->rows) x->writing = false;
        else if (x->filled == 0 && x->write_left == p->n) x->scale_at = p->b + (uint64_t)x->write_row * p->sb;
        return;
    }
    uint64_t w = width(m), at = (x->odd ? x->write_upper : x->at) & (w - 1);
    if (4 * lanes > BLOCK && !x->crossed && at + (uint64_t)write_bytes(m, x) > w) {
        x->crossed = true;
        return;
    }
    x->crossed = false;
    x->results_first = (x->results_first + 1) % RESULTS;
    x->results_count--;
    bool split = p->rope && !p->pairs && !x->write_tail;
    if (split && !x->odd) {
        x->odd = true;
        return;
    }
    x->odd = false;
    int64_t per = reduces(p) ? 1 : quantise ? BLOCK * groups : lanes;
    uint64_t stride = quantise ? (uint64_t)((p->fp4 ? BLOCK / 2 : BLOCK) * groups) : (uint64_t)(p->narrow ? 2 : 4) * (uint64_t)lanes;
    bool more = x->write_left > per, rotates = p->rope && !x->write_tail, tail = rotates && p->n > 2 * p->half;
    x->at += stride, x->write_upper += stride, x->write_left -= per;
    if (!more && tail) {
        x->write_tail = true;
        x->write_left = p->n - 2 * p->half;
        x->at = p->out + (uint64_t)x->write_row * p->so + 8 * (uint64_t)p->half;
    }
    bool row_ends = !more && !tail;
    if (quantise) {
        x->filled += groups;
        x->scales_full = row_ends || x->filled >= 8;
        if (x->scales_full) x->filled = 0;
    }
    if (!row_ends) return;
    if (x->write_row < p->rows - 1) {
        uint64_t scale = x->scale_at;
        write_row(x, x->write_row + 1);
        if (quantise) x->scale_at = scale;
    } else {
        x->write_row = p->rows;
        if (!quantise) x->writing = false;
    }
}

void vector_clock(model *m) {
    struct vector *x = m->vector;
    uint8_t why = m->dispatch.queues[VECTOR].in_flight ? FILL : QUEUE_WAIT;
    for (int k = 0; k < 3; k++) {
        const port *p = &m->ports[vport(m, k)];
        if (p->valid && !p->granted && (p->write || p->credit)) why = BANK_WAIT;
    }
    m->why[VECTOR] = x->arrived ? ACTIVE : why;
    if (x->executing) {
        operands_clock(m, x);
        walk_clock(m, x);
        writer_clock(m, x);
    }
    if (x->results_count) later(m, x->results[x->results_first]);
    m->dispatch.queues[VECTOR].done = x->taken; /* registered */
    x->taken = x->ending;
    if (x->ending) x->executing = x->walking = false;
    if (x->ending || x->starts || m->dispatch.queues[VECTOR].done) m->moved = true;
    if (!x->starts) return;
    x->now = x->next;
    x->waits = false;
    x->executing = true;
    const prepared *p = &x->now;
    x->walking = p->rows > 0;
    x->writing = p->rows > 0 && (p->n || reduces(p));
    x->steps_count = x->results_count = 0, x->part = x->gathered = 0, x->which = 0, x->filled = 0, x->scales_full = x->crossed = false;
    walk_row(x, 0);
    write_row(x, 0);
}
