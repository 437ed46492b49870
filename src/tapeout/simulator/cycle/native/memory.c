/* Memory behind the port: a word each way a cycle, answers of an ID in order, after a fixed latency or as HBM does. */
#include <stdlib.h>

#include "model.h"

enum { FETCH_ID, LOAD_ID, WRITE_ID };

bool memory_new(model *m) {
    memory *x = &m->memory;
    int64_t channels = m->s.channels, banks = channels * m->s.banks_per_channel;
    if (!channels) return true;
    x->channel_free = calloc((size_t)channels, sizeof(int64_t));
    x->bank_free = calloc((size_t)banks, sizeof(int64_t));
    x->open_row = malloc((size_t)banks * sizeof(int64_t));
    if (!x->channel_free || !x->bank_free || !x->open_row) return false;
    for (int64_t i = 0; i < banks; i++) x->open_row[i] = -1;
    return true;
}

void memory_delete(model *m) {
    memory *x = &m->memory;
    free(x->reads[0].at), free(x->reads[1].at), free(x->writes.at);
    free(x->channel_free), free(x->bank_free), free(x->open_row);
}

/* Time, in 1024ths of a cycle, at which one burst of a channel has passed. Rows stay open; a channel refreshes all its
 * banks every t_refresh_interval, channels evenly apart. Channels take bursts in turn, so that a stream uses all. */
static int64_t hbm_burst(model *m, uint64_t address, int64_t now) {
    const settings *s = &m->s;
    memory *x = &m->memory;
    int64_t burst = (int64_t)(address / (uint64_t)s->burst_bytes);
    int64_t channel = burst % s->channels, column = burst / s->channels;
    int64_t per_row = s->row_bytes / s->burst_bytes, row = column / per_row;
    /* consecutive rows of a channel lie in different banks; the fold keeps strides that are powers of two apart */
    int64_t which = (row ^ row / s->banks_per_channel) % s->banks_per_channel;
    int64_t bank = channel * s->banks_per_channel + which;
    int64_t start = now;
    if (x->open_row[bank] != row) { /* activations overlap with other banks' bursts */
        int64_t opened = at_least(now, x->bank_free[bank]) + s->t_row_miss;
        x->bank_free[bank] = at_least(now, x->bank_free[bank]) + s->t_row_cycle;
        x->open_row[bank] = row;
        start = opened;
    }
    start = at_least(start, x->channel_free[channel]);
    if (s->t_refresh_interval) {
        int64_t at = (start + channel * s->t_refresh_interval / s->channels) % s->t_refresh_interval;
        if (at < s->t_refresh) start += s->t_refresh - at;
    }
    x->channel_free[channel] = start + s->t_burst;
    return start + s->t_burst;
}

static int64_t answer_time(model *m, int id, uint64_t address) {
    memory *x = &m->memory;
    int64_t ready = m->now + m->s.latency;
    if (m->s.channels) {
        int64_t last = 0;
        for (int64_t i = 0; i < m->s.port_bytes; i += m->s.burst_bytes)
            last = at_least(last, hbm_burst(m, address + (uint64_t)i, m->now << 10));
        ready = at_least(ready, ((last + 1023) >> 10) + m->s.latency - 1);
    } else if (m->s.cost) {
        int64_t special = m->s.region_cost[address >> 34 & (REGIONS - 1)];
        x->busy = at_least(x->busy, (m->now << 10) - m->s.slack) + (special ? special : m->s.cost);
        ready = at_least(ready, ((x->busy + 1023) >> 10) + m->s.latency - 1);
    }
    return x->last[id] = at_least(ready, x->last[id]);
}

static void append(model *m, answers *q, int64_t ready) {
    if (q->count == q->size) {
        int64_t size = q->size ? 2 * q->size : 256; /* a power of two */
        answer *more = malloc((size_t)size * sizeof(answer));
        if (!more) {
            m->totals->end = NO_MEMORY;
            return;
        }
        for (int64_t i = 0; i < q->count; i++) more[i] = q->at[(q->first + i) & (q->size - 1)];
        free(q->at);
        *q = (answers){more, 0, q->count, size};
    }
    q->at[(q->first + q->count++) & (q->size - 1)].ready = ready;
}

static void drop(answers *q) {
    q->first = (q->first + 1) & (q->size - 1);
    q->count--;
}

void memory_read(model *m, int id, uint64_t address) { append(m, &m->memory.reads[id], answer_time(m, id, address)); }
void memory_write(model *m, uint64_t address) { append(m, &m->memory.writes, answer_time(m, WRITE_ID, address)); }

void memory_offer(model *m) {
    memory *x = &m->memory;
    if (!x->r_on) {
        int64_t soonest = NEVER;
        for (int id = 0; id < 2; id++) {
            answers *q = &x->reads[id];
            if (q->count && q->at[q->first].ready <= m->now && q->at[q->first].ready < soonest) {
                soonest = q->at[q->first].ready;
                x->r_on = true;
                x->r_id = id;
            }
        }
    }
    m->r_valid = x->r_on;
    m->r_taken = false;
    answers *w = &x->writes;
    m->acknowledged = w->count && w->at[w->first].ready <= m->now;
}

void memory_clock(model *m) {
    memory *x = &m->memory;
    if (m->r_taken) {
        drop(&x->reads[x->r_id]);
        x->r_on = false;
        m->moved = true;
    }
    if (m->acknowledged) {
        drop(&x->writes);
        m->moved = true;
    }
    for (int id = 0; id < 2; id++)
        if (x->reads[id].count) later(m, at_least(x->reads[id].at[x->reads[id].first].ready, x->r_on ? NEVER : 0));
    if (x->writes.count) later(m, x->writes.at[x->writes.first].ready);
}
