/* A core's time, cycle by cycle: what its blocks do to each other's handshakes, without the data.
 *
 * Every block of the RTL that can make another wait is here as the few registers that decide it. A cycle has two
 * halves, as in the RTL: `*_offer` compute what is combinational from the registers as they were, `*_clock` change
 * them. A cycle in which nothing changed is followed by the next one in which something can. Addresses and
 * counts are real, because alignment and banks follow from them; of contents there is only what the sequencer wrote.
 */
#ifndef TAPEOUT_CYCLE_MODEL_H
#define TAPEOUT_CYCLE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum { SEQUENCER, LOAD, MATRIX, VECTOR, STORE, ENGINES };
enum { SEMAPHORES = 16, REGISTERS = 32, SLOTS = 8, ARGUMENTS = 8, LOOP_DEPTH = 8 };
enum { QUEUE = 4, IN_FLIGHT = 4 };             /* commands waiting in, and taken by, an engine */
enum { READ_LATENCY = 5 };                     /* of the scratchpad */
enum { REGIONS = 64, MAX_PORTS = 16, MAX_ANSWERS = 32, STORE_PIECES = 8 };
#define REGISTER_MASK ((1ULL << 48) - 1)
#define NEVER INT64_MAX
enum { SAMPLED = 4 };                         /* counts of a window: words fetched, loaded, stored; matrix beats */

/* What a cycle of an engine was. The five of SEMAPHORE say which engine gave the token that came last. */
enum reason {
    ACTIVE,        /* moves data or computes */
    FILL,          /* its own pipeline: first operands, last results, look-ups */
    MEMORY_WAIT,   /* an answer of memory, or a place among the requests in flight */
    BANK_WAIT,     /* a bank of the scratchpad that another port has */
    SEMAPHORE_WAIT,
    QUEUE_WAIT = SEMAPHORE_WAIT + ENGINES, /* engines: nothing was dispatched; sequencer: a queue was full */
    REASONS
};

/* What a cycle of the core was, of the operator whose instruction is the oldest not done: the first that holds. */
enum column {
    BY_MATRIX,     /* a beat of weights */
    BY_MEMORY,     /* a word loaded or stored */
    BY_VECTOR,     /* a beat of vector elements */
    BY_BANK,       /* somebody waits for a bank */
    BY_LATENCY,    /* somebody waits for an answer of memory */
    BY_PIPELINE,   /* engines fill and drain */
    BY_SEQUENCER,  /* nothing is dispatched */
    WORDS_LOADED, WORDS_STORED, BEATS, ROW_BEATS, COLUMNS
};

/* What the instruction is; the table from opcodes comes from the instructions' files. */
enum kind {
    NO_KIND, K_ADD, K_SUB, K_MUL, K_AND, K_OR, K_XOR, K_SHL, K_SHR, K_MIN, K_MAX, K_LESS, K_EQUAL, K_ARGUMENT, K_READ,
    K_WRITE, K_BRANCH, K_LOOP, K_SYNC, K_INTERRUPT, K_HALT,
    K_LOAD, K_GATHER, K_TRANSPOSE, K_MATMUL, K_VECTOR, K_STORE, K_SCATTER
};

/* Why a run ended. */
enum end { HALTED, TRAPPED, STUCK, TOO_LONG, NO_MEMORY };

typedef struct {               /* mirrored by `native.Settings` */
    int64_t port_bytes, pad_bytes, word_bytes, banks, outstanding;
    int64_t rows, columns, ways, vector_lanes, tiles;
    int64_t base, count;       /* the program's place in memory, and its instructions */
    int64_t arguments[ARGUMENTS];
    int64_t latency;           /* cycles of an access of memory */
    int64_t cost;              /* cycles / 1024 that memory is busy with a word; 0: the port is the limit */
    int64_t phase;             /* of the scratchpad's rotating priority when the program starts */
    int64_t limit;             /* cycles */
    int64_t record;            /* 0: totals alone, 1: engines' instructions, 2: the sequencer's too */
    int64_t window;            /* cycles of a sample of memory's use */
    int64_t operators;         /* rows of the table but the last, which is for instructions of none */
    int64_t multiply, matrix_result, matrix_loop; /* `isa.timing` */
    int64_t fetch_window;      /* instructions */
    /* HBM, all 0 for fixed latency; times in 1024ths of a cycle */
    int64_t channels, banks_per_channel, row_bytes, burst_bytes;
    int64_t t_burst, t_row_miss, t_row_cycle, t_refresh_interval, t_refresh;
    /* the scratchpad's ports in the order of the core: the sequencer's, the load engine's, those of the matrix and
     * the vector engine, the store engine's; answers: reads a port may have under way */
    int64_t beat_bytes[2], scale_bytes[2], pitch[2]; /* of mxfp4, of mxint8: `isa.geometry` */
    int64_t ports, vector_port, port_words[MAX_PORTS], port_urgent[MAX_PORTS], port_answers[MAX_PORTS];
    int64_t vector_kind[32];   /* `enum kind_of_vector` of an opcode within the engine */
    int64_t vector_latency[10]; /* from operands to a result that can be written, by tap */
    int64_t vector_sums;       /* sums that may be under way: `timing.sums_room` */
    int64_t region_cost[REGIONS]; /* the same by region of 2^34 bytes; 0: as elsewhere */
    int64_t slack;             /* 1024ths of a cycle that a word may be behind what the bandwidth has given */
    int64_t plain;             /* every block in every cycle: the definition; 0: those alone that can do something */
} settings;

typedef struct {               /* mirrored by `native.RECORD`: an instruction as it was executed */
    int32_t pc, engine;
    int32_t giver, room;       /* engine whose token it waited for last */
    int64_t queued;            /* dispatched (sequencer: fetched) */
    int64_t head;              /* first of its queue, and the one before it taken */
    int64_t taken;             /* has its tokens */
    int64_t start, done;
    int64_t active, memory, bank; /* cycles of these kinds while it was the engine's oldest */
    int64_t amount;            /* load, store: bytes; matrix: steps; vector: elements */
} record;

typedef struct {               /* mirrored by `native.Totals` */
    int64_t cycles, end, pc, cause, instructions;
    int64_t load_beats, store_beats, fetch_beats, reads_used, matrix_beats, vector_beats;
    int64_t reasons[ENGINES][REASONS];
    int64_t records, windows;
} totals;

typedef struct { uint64_t slots[SLOTS]; uint64_t imm; int32_t pc; uint8_t opcode, kind; uint16_t wait, signal; int64_t entry, number; } command;

/* Scratchpad port: one request a cycle; reads come back in order. */
typedef struct {
    int words;                         /* banks an access takes */
    bool urgent;
    bool valid, write, granted;        /* of this cycle */
    uint64_t address;                  /* in words */
    int credit;
    int64_t ready[MAX_ANSWERS];            /* when each read under way can be taken */
    int first, under_way;
    bool taken;                        /* an answer was taken in this cycle */
} port;

typedef struct { int64_t ready; } answer;
typedef struct { answer *at; int64_t first, count, size; } answers;

typedef struct {
    answers reads[2], writes;          /* reads: instructions, data */
    int64_t busy;                      /* 1024ths of a cycle: when the data pins are free */
    int64_t last[3];                   /* answers of an ID come in order */
    bool r_on, b_on, held;
    int r_id, who;
    int64_t *channel_free, *bank_free, *open_row;
    uint64_t *offered_address;
} memory;

typedef struct {                       /* the instruction window: `sequencer_fetch` */
    int64_t low, asked, ahead, window, line;
    int64_t discard, flying;
    bool empty;
    bool present, jump, request;       /* of this cycle */
} fetcher;

enum state { CLEAR, WAIT, READY, EXECUTE, MULTIPLY, ACCESS, STOPPED };
enum fetching { FETCH, ADVANCE, HOLD };

typedef struct {
    enum state state;
    enum fetching fetching;
    int64_t at;                        /* first cycle in which the state does something */
    int64_t pc, next_at, running;      /* fetched next; of the word that waits; of the one executed */
    bool has_word;
    uint64_t registers[REGISTERS];
    uint64_t a, b;
    int64_t starts[LOOP_DEPTH], ends[LOOP_DEPTH];
    uint64_t lefts[LOOP_DEPTH];
    int depth;
    bool asks, late;                   /* of the scratchpad; the answer came */
    int64_t since, granted;            /* cycles, for the record */
    uint16_t wait;
    bool takes_tokens, finishes;       /* of this cycle */
} sequencer;

typedef struct {
    command queue[QUEUE], flying[IN_FLIGHT];
    int first, waiting, flying_first, in_flight;
    bool held;                         /* the head has its tokens */
    int64_t head_since, blocked;       /* cycles the head has waited for tokens */
    bool able, offers, fires, done;    /* of this cycle */
} queue;

typedef struct {
    int64_t tokens[SEMAPHORES], given_at[SEMAPHORES];
    int8_t giver[SEMAPHORES];
    queue queues[ENGINES];             /* 0 is not used */
    uint16_t some;                     /* semaphores that have tokens */
    bool changed;                      /* tokens were given or taken in this cycle */
} dispatcher;

typedef struct { uint64_t memory, pad; int32_t length; bool first, last, ends, turns; } piece;
enum address_state { A_IDLE, A_INDEX, A_ANSWER, A_RUN };

typedef struct { uint64_t memory, pad, size; bool ends, nothing, turns; } run;

typedef struct {                       /* `dma_address`: runs, and the pieces of one */
    enum address_state state;
    int64_t at;
    bool indexed, turns, fresh, is_load, nothing;
    uint64_t base, size, n0, s0, s1, split, pitch;
    uint64_t inner, outer, row, run_memory, run_pad, entry;
    uint64_t panel, columns, group, groups, tile, in_group; /* of a transposed tile */
    bool has, first;
    run now;
    bool offers, accepted, asks_index; /* of this cycle */
    piece piece;
} addresser;

typedef struct {                       /* `transpose_array` */
    int filled, left;
    bool leaving, alone, ends;
    uint64_t places[32];
    int at;
    bool takes, gives, leaves_alone, row_ready, word_valid, busy; /* of this cycle */
} turner;

typedef struct { bool valid, ends; uint64_t word; } arriving; /* a write, the end of a command, or both */

typedef struct {
    addresser address;
    piece *pieces;                     /* asked for, not yet answered */
    int64_t first, count;
    bool has, out_valid, out_ends, spare;
    arriving behind;                   /* if `spare`: waits for what is on offer to be taken */
    piece took;
    uint64_t low, out_word;
    turner array;
    bool take, out_free, leaves, free_, requests; /* of this cycle */
} loader;

typedef struct {
    addresser address;
    piece pieces[STORE_PIECES];
    int first, count;
    bool has, out_valid, out_ends, out_is_write;
    piece took;
    uint8_t *ends;                     /* of writes not yet acknowledged: bit 0 ends a command, bit 1 is a write */
    int64_t ends_first, ends_count;
    bool take, sent, out_free, over, writes; /* of this cycle */
    uint64_t out_address;
} storer;

struct matrix;
struct vector;

typedef struct model {
    settings s;
    const uint64_t *program;           /* two words an instruction */
    const uint8_t *kinds;              /* of opcodes */
    const uint64_t *reads;             /* results of `read`, in order; then what the sequencer wrote, then 0 */
    const uint32_t *indices[2];        /* of gathers, of scatters, in order; then likewise */
    int64_t read_count, index_count[2], index_used[2];
    int64_t now, next;                 /* next: the first later cycle in which something can happen */
    bool moved;
    int64_t cause;
    uint64_t *pad;                     /* 8 bytes each: what the sequencer wrote */
    memory memory;
    port ports[MAX_PORTS];
    int port_count, others, other[MAX_PORTS]; /* others: not urgent */
    uint32_t asking, open, urgent;     /* ports that ask in this cycle; that have reads under way; urgent ones */
    int word_shift;                    /* log2 of a word's bytes */
    int64_t kept;                      /* cycles in which the turn stayed */
    int64_t turn_at, turn;             /* the turn as it was when it was last needed */
    int store_port;
    fetcher fetch;
    sequencer sequencer;
    dispatcher dispatch;
    loader load;
    storer store;
    struct matrix *matrix;
    struct vector *vector;
    uint8_t why[ENGINES];              /* reason of this cycle */
    bool awake[ENGINES];               /* something is under way in it or has come; the others cannot change anything */
    totals *totals;
    record *records;
    int64_t record_room;
    const int32_t *origin;             /* of each instruction: its row of the table */
    int64_t *table;                    /* [operators + 1, COLUMNS] */
    int64_t dispatched;
    int64_t row_beats;                 /* rows that the matrix engine's beat of this cycle met */
    int32_t *samples;                  /* [window, 4]: fetch, load and store words, matrix beats */
    int64_t sample_room;
    bool r_valid, r_taken, load_asks, fetch_fires, load_fires, acknowledged;
} model;

enum { PORT_SEQUENCER, PORT_LOAD, PORT_MATRIX }; /* the vector engine's and the store's follow */

/* The core stops, with what the host reads as its cause (`isa.definition.Cause`). */
enum cause { UNKNOWN = 1, OUTSIDE = 3, MISALIGNED = 4, TOKENS = 6, LOOPS = 7, NOT_POSSIBLE = 8 };

static inline void trap(model *m, enum cause cause) {
    m->cause = cause;
    m->sequencer.state = STOPPED;
    m->totals->end = TRAPPED;
}

static inline void later(model *m, int64_t t) {
    if (t > m->now && t < m->next) m->next = t;
}
static inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* Why an engine that has nothing under way does nothing. */
static inline uint8_t resting(const model *m, int e) { return m->dispatch.queues[e].in_flight ? FILL : QUEUE_WAIT; }

static inline bool port_answers(const model *m, int k) {
    const port *p = &m->ports[k];
    return p->under_way && p->ready[p->first] <= m->now;
}
static inline void port_ask(model *m, int k, uint64_t byte_address, bool write) {
    port *p = &m->ports[k];
    p->valid = true;
    p->write = write;
    p->address = byte_address >> m->word_shift;
    m->asking |= 1u << k;
}
void scratchpad_offer(model *m);
void scratchpad_clock(model *m);

bool memory_new(model *m);
void memory_delete(model *m);
void memory_offer(model *m);
void memory_read(model *m, int id, uint64_t address);
void memory_write(model *m, uint64_t address);
void memory_clock(model *m);

void fetch_offer(model *m);
void fetch_clock(model *m);
void sequencer_start(model *m);
void sequencer_offer(model *m);
void sequencer_clock(model *m);
void dispatch_offer(model *m);
void dispatch_clock(model *m);
bool dispatch_idle(const model *m);
void give(model *m, uint16_t signal, int engine);
void take(model *m, uint16_t wait);

bool dma_new(model *m);
void dma_delete(model *m);
void load_offer(model *m);
void load_settle(model *m);
void load_clock(model *m);
void store_offer(model *m);
void store_settle(model *m);
void store_clock(model *m);
bool load_rests(const model *m);
bool store_rests(const model *m);

int64_t record_open(model *m, int engine, int32_t pc, int64_t queued);
static inline record *record_at(model *m, int64_t entry) { return entry < 0 ? 0 : &m->records[entry]; }

#endif
