/* The matrix engine on the scratchpad: operand fetch, beats, sums out (`chip.rtl.matrix` and its parts). */
#ifndef TAPEOUT_CYCLE_MATRIX_H
#define TAPEOUT_CYCLE_MATRIX_H

#include "model.h"

enum { CHECKS = 5 };                            /* cycles from a command to its work */
enum { COMMANDS = 2, WAITING = 2, ITEMS = 8, RESULTS_WAITING = 4, DELAYED = 32 };
enum { WEIGHTS, SCALES, CODES, ROW_SCALES, RESULTS, MATRIX_PORTS }; /* ports, from PORT_MATRIX on */

typedef struct {
    uint64_t a, ascale, sa, w, wscale, out, so, w_end, wscale_end;
    int64_t steps, rows, height, groups, tiles; /* counts */
    bool bank, keep, drain, int8;
} work;

/* A queue of registers: what it gives at its end is there a cycle after it came. */
#define QUEUE_OF(type, depth) struct { type at[depth]; int first, count; }
#define QUEUE_HEAD(q) ((q).at[(q).first])
#define QUEUE_DEPTH(q) ((int)(sizeof (q).at / sizeof *(q).at))
#define QUEUE_PUSH(q, value) ((q).at[((q).first + (q).count++) % QUEUE_DEPTH(q)] = (value))
#define QUEUE_POP(q) ((q).first = ((q).first + 1) % QUEUE_DEPTH(q), (q).count--)

typedef struct { bool fetch[2]; } item;

typedef struct {                                /* `matrix_activations` */
    QUEUE_OF(work, WAITING) waiting;
    QUEUE_OF(item, ITEMS) items;
    bool fresh, sent[2], out;                   /* out: a block is on offer */
    int64_t row, within, step;
    uint64_t at[2], top[2];
    bool ask[2], push, take, started, taken;    /* of this cycle */
} activations;

typedef struct { uint64_t at, end; bool int8; } stretch;

typedef struct {                                /* `matrix_weights` */
    QUEUE_OF(stretch, WAITING) before, behind;
    bool fresh, first, out;                     /* out: a unit is on offer */
    int64_t may;
    uint64_t asked, went, line, unit[2];        /* line: bytes of an access; unit: bytes by format */
    int line_shift;
    bool request, take, last, taken;            /* of this cycle */
} weights;

typedef struct { work of; bool start, end; } step;

typedef struct {                                /* `matrix_results` */
    QUEUE_OF(work, RESULTS_WAITING) waiting;
    bool fresh, flush, last, out, ended, closing;
    uint64_t at, row, held_at, out_at, line, pitch[2];
    int64_t pending;
    bool take, silent, written;                 /* of this cycle */
} results;

struct matrix {
    int phase;                                  /* of the entrance */
    command entering;
    work offered;
    activations rows;
    weights codes, scales;
    QUEUE_OF(work, COMMANDS) commands;
    bool full[2], slot;                         /* blocks that the rows hold */
    step steps[2];
    int64_t row, loaded;                        /* rows and steps of the command that loads */
    bool issuing;                               /* slot */
    int64_t tile, low;
    bool busy[2];                               /* banks that are to be drained */
    struct { int64_t at, low, above, tile; bool bank; } history[4];
    int fired;
    struct { int64_t at; work of; } requests[DELAYED];
    int requests_first, requests_count;
    work drains[2];
    int drain_count;
    int64_t drain_row, drain_tile, out_row, out_tile;
    bool out, out_last;
    results writer;
    bool accepts, ready, fire, issued, drain_free, distributes; /* of this cycle */
};

static inline int matrix_port(int k) { return PORT_MATRIX + k; }
void rows_offer(model *m, activations *x);
void rows_settle(model *m, activations *x);
void rows_clock(model *m, activations *x);
void weights_offer(model *m, weights *x, int port);
void weights_settle(model *m, weights *x, int port);
void weights_clock(model *m, weights *x, int port, bool start);
void results_offer(model *m, results *x);
void results_settle(model *m, struct matrix *x);
void results_clock(model *m, struct matrix *x);

#endif
