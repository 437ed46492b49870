/* The scratchpad's arbitration: banks, urgent ports, rotating priority of the others, answers in order
 * (`chip.rtl.scratchpad`). */
#include "model.h"

enum { MOST_BANKS = 1024 }; /* of a ChipSpec */

/* Whether the banks from `first` on are free; they are not after this. */
static bool take_banks(uint64_t *busy, int64_t first, int64_t words) {
    if (words <= 64) { /* a power of two, aligned: all in one element */
        uint64_t bits = (words == 64 ? ~0ULL : (1ULL << words) - 1) << (first & 63);
        bool clash = (busy[first >> 6] & bits) != 0;
        busy[first >> 6] |= bits;
        return !clash;
    }
    bool clash = false;
    for (int64_t i = first >> 6; i < (first + words) >> 6; i++) {
        clash |= busy[i] != 0;
        busy[i] = ~0ULL;
    }
    return !clash;
}

static void grant(const model *m, port *p, uint64_t *busy) {
    if (!p->write && !p->credit) return;
    int64_t banks = m->s.banks, words = at_most(p->words, banks);
    /* a port that loses keeps its banks from those behind it */
    p->granted = take_banks(busy, (int64_t)(p->address & (uint64_t)(banks - 1)) & ~(words - 1), words);
}

/* The turn goes on by one a cycle, but for those in which its port waited for an urgent one. */
static int64_t turn_of(model *m) {
    int64_t n = 2 * m->others, at = m->now - m->kept + m->s.phase, by = at - m->turn_at;
    m->turn_at = at;
    m->turn = by >= 0 && by < n ? m->turn + by - (m->turn + by >= n ? n : 0) : at % n;
    return m->turn;
}

void scratchpad_offer(model *m) {
    if (!m->asking) return;
    int64_t n = m->others, turn = turn_of(m);
    uint64_t busy[MOST_BANKS / 64];
    for (int64_t i = 0; i < (m->s.banks + 63) / 64; i++) busy[i] = 0;
    for (uint32_t left = m->asking & m->urgent; left; left &= left - 1)
        grant(m, &m->ports[__builtin_ctz(left)], busy);
    uint32_t left = m->asking & ~m->urgent;
    for (int64_t i = 0; left && i < n; i++) {
        int64_t at = turn < n ? turn + i : turn - i;
        if (at >= n) at -= n;
        int k = m->other[at];
        if (!(left >> k & 1)) continue;
        left &= ~(1u << k);
        grant(m, &m->ports[k], busy);
    }
    port *first = &m->ports[m->other[turn >= n ? turn - n : turn]];
    if (m->urgent && first->valid && (first->write || first->credit) && !first->granted) m->kept++;
}

void scratchpad_clock(model *m) {
    for (uint32_t left = m->asking | m->open; left; left &= left - 1) {
        int k = __builtin_ctz(left);
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
        if (p->under_way) {
            m->open |= 1u << k;
            later(m, p->ready[p->first]);
        } else m->open &= ~(1u << k);
        if (p->valid) m->moved = true; /* one that lost may win as the priority turns */
        p->valid = p->taken = p->granted = false;
    }
    m->asking = 0;
}
