/* The scratchpad's arbitration: banks, urgent ports, rotating priority of the others, answers in order
 * (`chip.rtl.scratchpad`). */
#include "model.h"

void port_ask(model *m, int k, uint64_t byte_address, bool write) {
    port *p = &m->ports[k];
    p->valid = true;
    p->write = write;
    p->address = byte_address / (uint64_t)m->s.word_bytes;
}

static void grant(model *m, port *p, uint64_t *busy) {
    if (!p->valid || (!p->write && !p->credit)) return;
    int64_t banks = m->s.banks, words = at_most(p->words, banks);
    int64_t first = (int64_t)(p->address % (uint64_t)banks) / words * words;
    bool clash = false;
    for (int64_t b = first; b < first + words; b++) {
        uint64_t bit = 1ULL << (b & 63);
        clash |= (busy[b >> 6] & bit) != 0;
        busy[b >> 6] |= bit; /* a port that loses keeps its banks from those behind it */
    }
    p->granted = !clash;
}

void scratchpad_offer(model *m) {
    int asking = 0;
    for (int k = 0; k < m->port_count; k++) {
        m->ports[k].granted = false;
        asking += m->ports[k].valid;
    }
    /* the turn goes on by one a cycle, but for those in which its port waited for an urgent one */
    int64_t n = m->others, turn = (m->now - m->kept + m->s.phase) % (2 * n);
    if (!asking) return;
    uint64_t busy[16] = {0}; /* a ChipSpec has at most 1024 banks */
    for (int k = 0; k < m->port_count; k++)
        if (m->ports[k].urgent) grant(m, &m->ports[k], busy);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = turn < n ? turn + i : turn - i;
        grant(m, &m->ports[m->other[(k + 2 * n) % n]], busy);
    }
    port *first = &m->ports[m->other[turn % n]];
    if (n < m->port_count && first->valid && (first->write || first->credit) && !first->granted) m->kept++;
}

void scratchpad_clock(model *m) {
    for (int k = 0; k < m->port_count; k++) {
        port *p = &m->ports[k];
        if (p->taken) {
            p->first = (p->first + 1) % MAX_ANSWERS;
            p->under_way--;
            p->credit++;
            m->moved = true;
        }
        if (p->granted && !p->write) {
            p->ready[(p->first + p->under_way) % MAX_ANSWERS] = m->now + READ_LATENCY;
            p->under_way++;
            p->credit--;
        }
        if (p->under_way) later(m, p->ready[p->first]);
        if (p->valid) m->moved = true; /* one that lost may win as the priority turns */
        p->valid = p->taken = false;
    }
}
