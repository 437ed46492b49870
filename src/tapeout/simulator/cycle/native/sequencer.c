/* Fetch window, the sequencer's states, queues and tokens (`chip.rtl.sequencer`, `sequencer_fetch`,
 * `sequencer_dispatch`). Scalars, loops and branches are executed. */
#include "model.h"

void matrix_start(model *m, const command *c);
void vector_start(model *m, const command *c);
bool matrix_ready(const model *m);
bool vector_ready(const model *m);
void load_start(model *m, const command *c);
void store_start(model *m, const command *c);

/* The window of instructions. */

void fetch_offer(model *m) {
    fetcher *f = &m->fetch;
    int64_t pc = m->sequencer.pc, aligned = pc / f->line * f->line;
    bool inside = pc >= f->low && pc < f->asked && !f->empty;
    bool wants = m->sequencer.state == FETCH && m->now >= m->sequencer.at;
    f->jump = wants && !inside && (aligned != f->asked || f->empty);
    f->present = inside && pc < f->ahead;
    f->request = f->asked < pc + f->window / 2 && !f->empty && !f->jump && f->flying != f->window - 1;
    m->fetch_fires = f->request;
}

void fetch_clock(model *m) {
    fetcher *f = &m->fetch;
    bool come = m->r_valid && m->memory.r_id == 0;
    int64_t aligned = m->sequencer.pc / f->line * f->line, flying = f->flying + m->fetch_fires - come;
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
static int64_t as_signed(uint64_t v) { return (int64_t)(v << 16) >> 16; }

void sequencer_start(model *m) {
    m->sequencer.state = CLEAR;
    m->sequencer.at = REGISTERS - 1; /* one register a cycle */
    m->fetch.empty = true;
    m->fetch.line = m->s.port_bytes / 16;
    m->fetch.window = at_least(32, 4 * m->fetch.line);
}

static uint16_t available(const model *m) {
    uint16_t some = 0;
    for (int s = 0; s < SEMAPHORES; s++) some |= (uint16_t)(m->dispatch.tokens[s] > 0) << s;
    return some;
}

void sequencer_offer(model *m) {
    sequencer *q = &m->sequencer;
    q->requests = q->granted = q->finishes = q->pushes = q->access = false;
    if (m->now < q->at) return;
    switch (q->state) {
    case EXECUTE: {
        int kind = kind_of(m, q->pc);
        q->requests = !q->taken;
        q->granted = q->taken || !(waits(m, q->pc) & ~available(m));
        if (!q->granted) break;
        if (kind == K_READ || kind == K_WRITE) {
            port_ask(m, PORT_SEQUENCER, q->b, kind == K_WRITE);
            q->access = true;
        } else if (kind == K_HALT) q->finishes = dispatch_idle(m);
        else q->finishes = kind != K_MUL;
        break;
    }
    case MULTIPLY: q->finishes = true; break;
    case ACCESS: q->finishes = m->ports[PORT_SEQUENCER].taken = port_answers(m, PORT_SEQUENCER); break;
    case PUSH: q->pushes = m->dispatch.queues[m->sequencer.own].waiting < QUEUE; break;
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
    case K_ARGUMENT: return (uint64_t)m->s.arguments[immediate(m, q->pc) & 7];
    default: { /* read */
        if (m->totals->reads_used < m->read_count) return m->reads[m->totals->reads_used++];
        uint64_t held = m->pad[q->b % (uint64_t)m->s.pad_bytes / 8];
        return q->b & 4 ? held >> 32 : held & 0xFFFFFFFF;
    }
    }
}

static void trap(model *m, int64_t cause) {
    m->cause = cause;
    m->sequencer.state = STOPPED;
    m->totals->end = TRAPPED;
}

/* The instruction at pc has what it waits for and ends in this cycle. */
static void finish(model *m) {
    sequencer *q = &m->sequencer;
    int64_t pc = q->pc;
    int kind = kind_of(m, pc);
    uint64_t imm = immediate(m, pc);
    q->pc = pc + 1;
    if (kind >= K_ADD && kind <= K_READ) {
        int rd = slot_of(m, pc, 0);
        if (rd) q->registers[rd] = value(m, kind) & REGISTER_MASK;
    } else if (kind == K_WRITE) {
        m->pad[q->b % (uint64_t)m->s.pad_bytes / 8] = q->a;
    } else if (kind == K_BRANCH) {
        bool less = as_signed(q->a) < as_signed(q->b), equal = q->a == q->b;
        int condition = (int)(imm >> 24) & 3;
        if (condition == 0 ? equal : condition == 1 ? !equal : condition == 2 ? less : !less)
            q->pc = (int64_t)(imm & 0xFFFFFF);
    } else if (kind == K_LOOP) {
        int64_t end = (int64_t)(imm & 0xFFFFFF);
        if (end <= pc + 1 || (q->a && q->depth == LOOP_DEPTH)) {
            trap(m, 7);
            return;
        }
        if (!q->a) q->pc = end;
        else {
            q->starts[q->depth] = pc + 1;
            q->ends[q->depth] = end;
            q->lefts[q->depth++] = q->a;
        }
    } else if (kind == K_HALT) {
        m->totals->end = HALTED;
        q->state = STOPPED;
        return;
    }
    q->state = NEXT;
    q->at = m->now + 1;
}

static void next_instruction(model *m) {
    sequencer *q = &m->sequencer;
    q->at = m->now + 1;
    if (!q->depth) {
        q->state = FETCH;
        return;
    }
    int top = q->depth - 1;
    if (q->pc == q->ends[top]) {
        if (q->lefts[top] == 1) q->depth--; /* stays: the next loop may end here too */
        else {
            q->lefts[top]--;
            q->pc = q->starts[top];
            q->state = FETCH;
        }
    } else if (q->pc < q->starts[top] || q->pc > q->ends[top]) trap(m, 7);
    else q->state = FETCH;
}

static void fetched(model *m) {
    sequencer *q = &m->sequencer;
    int64_t pc = q->pc;
    int kind = pc < m->s.count ? kind_of(m, pc) : NO_KIND;
    if (kind == NO_KIND) {
        trap(m, 1);
        return;
    }
    q->taken = false;
    if (kind >= K_LOAD) {
        q->state = PUSH;
        q->at = m->now + m->s.dispatch - 2; /* then PUSH and NEXT */
        q->own = (int64_t)((low_word(m, pc) & 255) >> 5);
        return;
    }
    int64_t imm = (int64_t)immediate(m, pc);
    imm = kind == K_BRANCH ? (imm << 16) >> 42 : as_signed((uint64_t)imm);
    q->a = q->registers[slot_of(m, pc, 1)];
    q->b = (q->registers[slot_of(m, pc, 2)] + (uint64_t)imm) & REGISTER_MASK;
    q->state = EXECUTE;
    q->at = m->now + m->s.scalar - 2;
    q->executing = q->at;
}

static void push(model *m) {
    sequencer *q = &m->sequencer;
    queue *to = &m->dispatch.queues[q->own];
    command *c = &to->queue[(to->first + to->waiting) % QUEUE];
    c->pc = (int32_t)q->pc;
    c->opcode = low_word(m, q->pc) & 31;
    c->kind = (uint8_t)kind_of(m, q->pc);
    c->wait = waits(m, q->pc);
    c->signal = signals(m, q->pc);
    c->imm = immediate(m, q->pc);
    for (int i = 0; i < SLOTS; i++) c->slots[i] = q->registers[slot_of(m, q->pc, i)];
    c->number = m->dispatched++;
    c->entry = record_open(m, (int)q->own, c->pc, m->now);
    record *r = record_at(m, c->entry);
    if (r)
        r->amount = c->kind == K_MATMUL   ? (int64_t)c->slots[7]
                    : c->kind == K_VECTOR ? (int64_t)(c->slots[2] * c->slots[3])
                                          : (int64_t)(c->slots[2] * c->slots[3] * (c->opcode ? 1 : c->slots[5]));
    if (!to->waiting) to->head_since = m->now + 1;
    to->waiting++;
    q->pc++;
    q->state = NEXT;
    q->at = m->now + 1;
}

static void record_own(model *m, int64_t pc, int64_t taken) {
    if (m->s.record < 2) return;
    record *r = record_at(m, record_open(m, SEQUENCER, (int32_t)pc, m->sequencer.fetched));
    if (!r) return;
    r->head = m->sequencer.executing;
    r->taken = r->start = taken;
    r->done = m->now + 1;
}

static int last_giver(const model *m, uint16_t wait) {
    int giver = SEQUENCER;
    int64_t last = -1;
    for (int s = 0; s < SEMAPHORES; s++)
        if (wait >> s & 1 && m->dispatch.given_at[s] > last) {
            last = m->dispatch.given_at[s];
            giver = m->dispatch.giver[s];
        }
    return giver;
}

void sequencer_clock(model *m) {
    sequencer *q = &m->sequencer;
    queue *own = &m->dispatch.queues[SEQUENCER];
    int64_t pc = q->pc;
    if (m->now < q->at) {
        later(m, q->at);
        m->why[SEQUENCER] = ACTIVE;
        return;
    }
    m->why[SEQUENCER] = ACTIVE;
    bool moved = true;
    switch (q->state) {
    case CLEAR:
        q->state = FETCH;
        q->at = q->fetched = m->now + 1;
        break;
    case FETCH:
        if (m->fetch.present) fetched(m);
        else {
            m->why[SEQUENCER] = MEMORY_WAIT;
            moved = false;
        }
        break;
    case EXECUTE: {
        bool first = q->granted && !q->taken;
        if (!q->granted) {
            m->why[SEQUENCER] = SEMAPHORE_WAIT;
            moved = false;
            break;
        }
        if (first) {
            uint16_t wait = waits(m, pc);
            m->totals->reasons[SEQUENCER][SEMAPHORE_WAIT + last_giver(m, wait)] += own->blocked;
            own->blocked = 0;
            for (int s = 0; s < SEMAPHORES; s++) m->dispatch.tokens[s] -= wait >> s & 1;
            q->taken = true;
            q->result = (uint64_t)m->now;
        }
        int kind = kind_of(m, pc);
        if (q->access) {
            if (!m->ports[PORT_SEQUENCER].granted) m->why[SEQUENCER] = BANK_WAIT;
            else if (kind == K_WRITE) q->finishes = true;
            else q->state = ACCESS;
        } else if (kind == K_MUL) {
            q->state = MULTIPLY;
            q->at = m->now + m->s.multiply;
        } else if (!q->finishes) { /* halt, while engines work */
            m->why[SEQUENCER] = FILL;
            moved = first;
        }
        break;
    }
    case ACCESS:
        moved = q->finishes;
        break;
    case PUSH:
        if (q->pushes) {
            m->totals->instructions++;
            push(m);
        } else {
            m->why[SEQUENCER] = QUEUE_WAIT;
            moved = false;
        }
        break;
    case NEXT:
        next_instruction(m);
        if (q->state == FETCH) q->fetched = q->at;
        break;
    default: break;
    }
    m->moved |= moved;
    if (q->finishes) {
        m->totals->instructions++;
        record_own(m, pc, (int64_t)q->result);
        uint16_t signal = signals(m, pc);
        finish(m);
        for (int s = 0; s < SEMAPHORES; s++)
            if (signal >> s & 1) {
                m->dispatch.tokens[s]++;
                m->dispatch.giver[s] = SEQUENCER;
                m->dispatch.given_at[s] = m->now;
            }
    }
}

/* Queues and tokens. */

bool dispatch_idle(const model *m) {
    for (int e = LOAD; e < ENGINES; e++)
        if (m->dispatch.queues[e].waiting || m->dispatch.queues[e].in_flight) return false;
    return true;
}

static bool engine_ready(const model *m, int e) {
    switch (e) {
    case LOAD: return m->load.address.state == A_IDLE;
    case STORE: return m->store.address.state == A_IDLE;
    case MATRIX: return matrix_ready(m);
    default: return vector_ready(m);
    }
}

void dispatch_offer(model *m) {
    uint16_t some = available(m);
    uint16_t before = m->sequencer.requests && m->sequencer.granted ? waits(m, m->sequencer.pc) : 0;
    for (int e = LOAD; e < ENGINES; e++) {
        queue *q = &m->dispatch.queues[e];
        uint16_t wait = q->queue[q->first].wait;
        q->done = false;
        q->able = q->waiting && !q->held && !(wait & ~some) && !(wait & before);
        if (q->able) before |= wait;
        q->fires = q->held && q->in_flight < IN_FLIGHT && engine_ready(m, e);
    }
}

static void begin(model *m, int e, const command *c) {
    switch (e) {
    case LOAD: load_start(m, c); break;
    case STORE: store_start(m, c); break;
    case MATRIX: matrix_start(m, c); break;
    default: vector_start(m, c);
    }
}

void dispatch_clock(model *m) {
    dispatcher *d = &m->dispatch;
    for (int e = LOAD; e < ENGINES; e++) {
        queue *q = &d->queues[e];
        if (q->able) {
            uint16_t wait = q->queue[q->first].wait;
            int giver = last_giver(m, wait);
            m->totals->reasons[e][SEMAPHORE_WAIT + giver] += q->blocked;
            q->blocked = 0;
            for (int s = 0; s < SEMAPHORES; s++) d->tokens[s] -= wait >> s & 1;
            q->held = true;
            record *r = record_at(m, q->queue[q->first].entry);
            if (r) {
                r->head = q->head_since;
                r->taken = m->now;
                r->giver = wait ? giver : -1;
            }
        }
        if (q->done) {
            command *c = &q->flying[q->flying_first];
            record *r = record_at(m, c->entry);
            if (r) r->done = m->now + 1;
            for (int s = 0; s < SEMAPHORES; s++)
                if (c->signal >> s & 1) {
                    d->tokens[s]++;
                    d->giver[s] = (int8_t)e;
                    d->given_at[s] = m->now;
                }
            q->flying_first = (q->flying_first + 1) % IN_FLIGHT;
            q->in_flight--;
        }
        if (q->fires) {
            command *c = &q->flying[(q->flying_first + q->in_flight++) % IN_FLIGHT];
            *c = q->queue[q->first];
            record *r = record_at(m, c->entry);
            if (r) r->start = m->now;
            q->first = (q->first + 1) % QUEUE;
            q->waiting--;
            q->head_since = m->now + 1;
            q->held = false;
            begin(m, e, c);
        }
        m->moved |= q->able | q->done | q->fires;
    }
    for (int s = 0; s < SEMAPHORES; s++)
        if (d->tokens[s] > 63) {
            m->cause = 6;
            m->totals->end = TRAPPED;
        }
}
