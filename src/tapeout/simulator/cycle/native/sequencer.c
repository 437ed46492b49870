/* The fetch window and the sequencer's two halves (`chip.rtl.sequencer_fetch`, `sequencer`). Scalars, loops and
 * branches are executed. */
#include "model.h"

uint16_t available(const model *m);
int last_giver(const model *m, uint16_t wait);

/* The window of instructions. */

void fetch_offer(model *m) {
    fetcher *f = &m->fetch;
    int64_t pc = m->sequencer.pc, aligned = pc & ~(f->line - 1);
    bool inside = pc >= f->low && pc < f->asked && !f->empty;
    bool wants = m->sequencer.fetching == FETCH && m->sequencer.state != STOPPED;
    f->jump = wants && !inside && (aligned != f->asked || f->empty);
    f->present = inside && pc < f->ahead;
    f->request = f->asked < pc + f->window / 2 && !f->empty && !f->jump && f->flying != f->window - 1;
    m->fetch_fires = f->request;
}

void fetch_clock(model *m) {
    fetcher *f = &m->fetch;
    bool come = m->r_valid && m->memory.r_id == 0;
    int64_t aligned = m->sequencer.pc & ~(f->line - 1), flying = f->flying + m->fetch_fires - come;
    if (m->fetch_fires) {
        memory_read(m, 0, (uint64_t)m->s.base + 16 * (uint64_t)f->asked);
        f->asked += f->line;
        if (f->asked - f->low > f->window) f->low = f->asked - f->window;
        m->moved = true;
    }
    if (come) {
        m->r_taken = true;
        m->totals->fetch_beats++;
        if (f->discard) f->discard--;
        else f->ahead += f->line;
    }
    if (f->jump) {
        f->low = f->asked = f->ahead = aligned;
        f->empty = false;
        f->discard = flying;
        m->moved = true;
    }
    f->flying = flying;
}

/* The sequencer. */

static uint64_t low_word(const model *m, int64_t pc) { return m->program[2 * pc]; }
static uint64_t high_word(const model *m, int64_t pc) { return m->program[2 * pc + 1]; }
static uint64_t immediate(const model *m, int64_t pc) { return high_word(m, pc) >> 16; }
static int slot_of(const model *m, int64_t pc, int i) {
    int at = 40 + 5 * i;
    uint64_t lo = low_word(m, pc), hi = high_word(m, pc);
    return (int)((at >= 64 ? hi >> (at - 64) : at + 5 > 64 ? lo >> at | hi << (64 - at) : lo >> at) & 31);
}
static uint16_t waits(const model *m, int64_t pc) { return (uint16_t)(low_word(m, pc) >> 8); }
static uint16_t signals(const model *m, int64_t pc) { return (uint16_t)(low_word(m, pc) >> 24); }
static int kind_of(const model *m, int64_t pc) { return m->kinds[low_word(m, pc) & 255]; }
static int engine_of(const model *m, int64_t pc) { return (int)(low_word(m, pc) & 255) >> 5; }
static int64_t as_signed(uint64_t v) { return (int64_t)(v << 16) >> 16; }

void sequencer_start(model *m) {
    m->sequencer.state = CLEAR;
    m->sequencer.at = REGISTERS - 1; /* one register a cycle */
    m->fetch.empty = true;
    m->fetch.line = m->s.port_bytes / 16;
    m->fetch.window = at_least(m->s.fetch_window, 4 * m->fetch.line);
}

static bool is_engine(int kind) { return kind >= K_LOAD; }

/* Whether what is executed ends in this cycle, as far as it does not hang on the scratchpad; its requests. */
void sequencer_offer(model *m) {
    sequencer *q = &m->sequencer;
    q->takes_tokens = q->finishes = false;
    if (m->now < q->at) return;
    int kind = q->state == CLEAR || q->state == WAIT ? NO_KIND : kind_of(m, q->running);
    switch (q->state) {
    case READY:
        q->wait = waits(m, q->running);
        q->takes_tokens = !is_engine(kind) && !(q->wait & ~available(m));
        break;
    case EXECUTE:
        if (is_engine(kind)) q->finishes = m->dispatch.queues[engine_of(m, q->running)].waiting < QUEUE;
        else if (kind == K_HALT) q->finishes = dispatch_idle(m);
        else q->finishes = kind != K_MUL && kind != K_READ && kind != K_WRITE;
        break;
    case MULTIPLY: q->finishes = true; break;
    case ACCESS:
        if (q->asks) port_ask(m, PORT_SEQUENCER, q->b, kind == K_WRITE);
        m->ports[PORT_SEQUENCER].taken = !q->late && port_answers(m, PORT_SEQUENCER);
        q->finishes = q->late;
        break;
    default: break;
    }
}

static uint64_t value(model *m, int kind) {
    sequencer *q = &m->sequencer;
    uint64_t a = q->a, b = q->b;
    bool less = as_signed(a) < as_signed(b);
    switch (kind) {
    case K_ADD: return a + b;
    case K_SUB: return a - b;
    case K_MUL: return a * b;
    case K_AND: return a & b;
    case K_OR: return a | b;
    case K_XOR: return a ^ b;
    case K_SHL: return (b & 63) > 47 ? 0 : a << (b & 63);
    case K_SHR: return a >> (b & 63);
    case K_MIN: return less ? a : b;
    case K_MAX: return less ? b : a;
    case K_LESS: return less;
    case K_EQUAL: return a == b;
    case K_ARGUMENT: return (uint64_t)m->s.arguments[immediate(m, q->running) & 7];
    default: { /* read */
        if (m->totals->reads_used < m->read_count) return m->reads[m->totals->reads_used++];
        uint64_t held = m->pad[q->b % (uint64_t)m->s.pad_bytes / 8];
        return q->b & 4 ? held >> 32 : held & 0xFFFFFFFF;
    }
    }
}

/* The fetching half goes on at `target`. */
static void redirect(sequencer *q, int64_t target) {
    q->pc = target;
    q->fetching = ADVANCE;
}

static void push(model *m, int64_t pc, int engine) {
    sequencer *q = &m->sequencer;
    queue *to = &m->dispatch.queues[engine];
    command *c = &to->queue[(to->first + to->waiting) % QUEUE];
    c->pc = (int32_t)pc;
    c->opcode = low_word(m, pc) & 31;
    c->kind = (uint8_t)kind_of(m, pc);
    c->wait = waits(m, pc);
    c->signal = signals(m, pc);
    c->imm = immediate(m, pc);
    for (int i = 0; i < SLOTS; i++) c->slots[i] = q->registers[slot_of(m, pc, i)];
    c->number = m->dispatched++;
    c->entry = record_open(m, engine, c->pc, m->now);
    record *r = record_at(m, c->entry);
    const uint64_t *s = c->slots;
    if (r)
        r->amount = c->kind == K_MATMUL      ? (int64_t)s[7]
                    : c->kind == K_VECTOR    ? (int64_t)(s[2] * s[3])
                    : c->kind == K_TRANSPOSE ? (int64_t)(s[2] * s[3] * 32)
                                             : (int64_t)(s[2] * s[3] * (c->opcode ? 1 : s[5]));
    if (!to->waiting) to->head_since = m->now + 1;
    to->waiting++;
}

/* The instruction under way ends in this cycle; `redirect`s and halts are told to the fetching half. */
static void finish(model *m) {
    sequencer *q = &m->sequencer;
    int64_t pc = q->running;
    int kind = kind_of(m, pc);
    uint64_t imm = immediate(m, pc);
    m->totals->instructions++;
    if (is_engine(kind)) {
        push(m, pc, engine_of(m, pc));
        return;
    }
    if (m->s.record > 1) {
        record *r = record_at(m, record_open(m, SEQUENCER, (int32_t)pc, q->since));
        if (r) r->head = r->taken = r->start = q->granted, r->done = m->now + 1;
    }
    uint16_t signal = signals(m, pc);
    give(m, signal, SEQUENCER);
    if (kind >= K_ADD && kind <= K_READ) {
        int rd = slot_of(m, pc, 0);
        if (rd) q->registers[rd] = value(m, kind) & REGISTER_MASK;
    } else if (kind == K_WRITE) {
        m->pad[q->b % (uint64_t)m->s.pad_bytes / 8] = q->a;
    } else if (kind == K_BRANCH) {
        bool less = as_signed(q->a) < as_signed(q->b), equal = q->a == q->b;
        int condition = (int)(imm >> 24) & 3;
        bool holds = condition == 0 ? equal : condition == 1 ? !equal : condition == 2 ? less : !less;
        redirect(q, holds ? (int64_t)(imm & 0xFFFFFF) : pc + 1);
    } else if (kind == K_LOOP) {
        int64_t end = (int64_t)(imm & 0xFFFFFF);
        if (end <= pc + 1 || (q->a && q->depth == LOOP_DEPTH)) {
            trap(m, LOOPS);
            return;
        }
        redirect(q, q->a ? pc + 1 : end);
        if (!q->a) return;
        q->starts[q->depth] = pc + 1;
        q->ends[q->depth] = end;
        q->lefts[q->depth++] = q->a;
    } else if (kind == K_HALT) {
        m->totals->end = HALTED;
        q->state = STOPPED;
    }
}

/* The innermost loop's say about the pc that is fetched next. */
static void advance(model *m) {
    sequencer *q = &m->sequencer;
    int top = q->depth - 1;
    m->moved = true;
    if (q->depth && q->pc == q->ends[top]) {
        if (q->lefts[top] == 1) {
            q->depth--; /* and look at the loop around it */
            return;
        }
        q->lefts[top]--;
        q->pc = q->starts[top];
    } else if (q->depth && (q->pc < q->starts[top] || q->pc > q->ends[top])) {
        trap(m, LOOPS);
        return;
    }
    q->fetching = FETCH;
}

/* The word that waits becomes the one that is executed: its registers are read. */
static void take_word(model *m) {
    sequencer *q = &m->sequencer;
    int64_t pc = q->running = q->next_at;
    int kind = pc < m->s.count ? kind_of(m, pc) : NO_KIND;
    if (kind == NO_KIND) {
        q->running = 0;
        trap(m, UNKNOWN);
        return;
    }
    q->state = READY;
    q->since = m->now + 1;
    if (is_engine(kind)) return;
    int64_t imm = (int64_t)immediate(m, pc);
    imm = kind == K_BRANCH ? (int64_t)((uint64_t)imm << 16) >> 42 : as_signed((uint64_t)imm);
    q->a = q->registers[slot_of(m, pc, 1)];
    q->b = (q->registers[slot_of(m, pc, 2)] + (uint64_t)imm) & REGISTER_MASK;
}

/* What the instruction at hand does in this cycle; the reason if it does nothing. */
static uint8_t execute_clock(model *m) {
    sequencer *q = &m->sequencer;
    queue *own = &m->dispatch.queues[SEQUENCER];
    int kind = kind_of(m, q->running);
    switch (q->state) {
    case READY:
        if (is_engine(kind)) q->state = EXECUTE;
        else if (q->takes_tokens) {
            m->totals->reasons[SEQUENCER][SEMAPHORE_WAIT + last_giver(m, q->wait)] += own->blocked;
            own->blocked = 0;
            take(m, q->wait);
            q->granted = m->now;
            q->state = EXECUTE;
        } else return SEMAPHORE_WAIT;
        break;
    case EXECUTE:
        if (kind == K_MUL) {
            q->state = MULTIPLY;
            q->at = m->now + m->s.multiply;
        } else if (kind == K_READ || kind == K_WRITE) {
            q->state = ACCESS;
            q->asks = true;
            q->late = false;
        } else if (!q->finishes) return is_engine(kind) ? QUEUE_WAIT : FILL; /* halt, while engines work */
        break;
    case ACCESS:
        if (q->asks && m->ports[PORT_SEQUENCER].granted) {
            q->asks = false;
            q->late = kind == K_WRITE; /* told a cycle later */
        } else if (q->asks) return BANK_WAIT;
        else if (m->ports[PORT_SEQUENCER].taken) q->late = true;
        else if (!q->finishes) return FILL;
        break;
    default: break;
    }
    m->moved = true;
    return ACTIVE;
}

void sequencer_clock(model *m) {
    sequencer *q = &m->sequencer;
    bool acts = m->now >= q->at, waited = q->state == WAIT && acts, had_word = q->has_word;
    bool advances = q->fetching == ADVANCE, fetches = q->fetching == FETCH && m->fetch.present;
    int64_t fetched = q->pc;
    uint8_t why = ACTIVE;
    if (!acts) later(m, q->at);
    else if (q->state == CLEAR) {
        q->state = WAIT;
        m->moved = true;
    } else if (waited) why = had_word || fetches || advances ? ACTIVE : MEMORY_WAIT;
    else why = execute_clock(m);
    if (q->finishes) finish(m);
    bool takes = had_word && (waited || q->finishes);
    if (q->state == STOPPED) return;
    if (takes) {
        q->has_word = false;
        m->moved = true;
        take_word(m);
    } else if (q->finishes) q->state = WAIT;
    if (advances) advance(m);
    if (fetches && (!had_word || takes)) {
        int kind = fetched < m->s.count ? kind_of(m, fetched) : NO_KIND;
        q->has_word = true;
        q->next_at = fetched;
        q->pc = fetched + 1;
        q->fetching = kind == K_BRANCH || kind == K_LOOP || kind == K_HALT ? HOLD : ADVANCE;
        m->moved = true;
    }
    m->why[SEQUENCER] = why;
}
