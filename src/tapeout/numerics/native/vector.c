/* vector.py in C. */
#include <math.h>

#include "vector.h"

float tp_total(const float *x, int64_t n) {
    float p[32] = {0};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 32; j++) p[j] += x[i + j];
    for (int j = 0; i + j < n; j++) p[j] += x[i + j];
    for (int half = 16; half; half /= 2)
        for (int j = 0; j < half; j++) p[j] += p[j + half];
    return tp_canonical(p[0]);
}

typedef struct {
    int kind, interleaved, format;
    const float *x, *weight, *c, *s;
    float *out, epsilon, limit;
    int64_t rows, n, heads, count, k;
    const int32_t *slot;
    uint8_t *codes, *scales;
} vector_job;

static void rows_loop(void (*each)(vector_job *, int64_t), vector_job *j, int64_t work);

static void norm_row(vector_job *j, int64_t r) {
    const float *x = j->x + r * j->n;
    int64_t padded = (j->n + 31) / 32 * 32;
    float *y = tp_scratch(0, (size_t)(padded + j->n) * 4), *out = j->out ? j->out + r * j->n : y;
    for (int64_t i = 0; i < j->n; i++) y[i] = x[i] * x[i];
    float scale = tp_rsqrt(tp_total(y, j->n) * (float)(1.0 / (double)j->n) + j->epsilon);
    for (int64_t i = 0; i < j->n; i++) out[i] = tp_canonical(j->weight ? x[i] * scale * j->weight[i] : x[i] * scale);
    if (!j->codes) return;
    if (out != y) memcpy(y, out, (size_t)j->n * 4);
    for (int64_t i = j->n; i < padded; i++) y[i] = 0;
    tp_quantise_row(j->format, y, padded, j->codes + r * tp_row_bytes(j->format, padded), j->scales + r * (padded / 32));
}

/* out and codes: either may be NULL. Without weight, rows are multiplied by their factor alone. */
void tp_rms_norm(const float *x, const float *weight, float epsilon, int64_t rows, int64_t n, float *out,
                           int format, uint8_t *codes, uint8_t *scales) {
    vector_job j = {.x = x, .weight = weight, .epsilon = epsilon, .count = rows, .n = n, .out = out, .format = format,
                    .codes = codes, .scales = scales};
    rows_loop(norm_row, &j, n);
}

static void rope_row(vector_job *j, int64_t r) {
    int64_t h = j->n, step = j->interleaved ? 2 : 1, other = j->interleaved ? 1 : h;
    float *x = j->out + r * j->rows;
    const float *c = j->c + r / j->heads * h, *s = j->s + r / j->heads * h;
    for (int64_t i = 0; i < h; i++) {
        float a = x[i * step], b = x[i * step + other];
        x[i * step] = tp_canonical(a * c[i] - b * s[i]);
        x[i * step + other] = tp_canonical(b * c[i] + a * s[i]);
    }
}

/* x [tokens][heads] of `stride` floats each, in place; cos, sin [tokens][h] */
void tp_rope(float *x, const float *c, const float *s, int64_t tokens, int64_t heads, int64_t stride, int64_t h,
                       int interleaved) {
    vector_job j = {.interleaved = interleaved, .c = c, .s = s, .out = x, .rows = stride, .n = h, .heads = heads};
    j.count = tokens * heads;
    rows_loop(rope_row, &j, h);
}

static void softmax_row(vector_job *j, int64_t r) {
    const float *x = j->x + r * j->n;
    float *y = j->out + r * j->n;
    int32_t top = tp_key(-INFINITY);
    for (int64_t i = 0; i < j->n; i++) {
        y[i] = tp_canonical(x[i] * 0x1.715476p+0f);
        int32_t key = tp_key(y[i]);
        top = key > top ? key : top;
    }
    float largest = tp_unkey(top);
    for (int64_t i = 0; i < j->n; i++) y[i] = y[i] - largest;
    tp_exp2_array(y, y, j->n);
    float inverse = tp_reciprocal(tp_total(y, j->n));
    for (int64_t i = 0; i < j->n; i++) y[i] = tp_canonical(y[i] * inverse);
}

void tp_softmax(const float *x, int64_t rows, int64_t n, float *out) {
    vector_job j = {.x = x, .count = rows, .n = n, .out = out};
    rows_loop(softmax_row, &j, n * 8);
}

static inline float most(float a, float b) {
    if (a != a || b != b) return tp_float(0x7FC00000u);
    return tp_key(a) >= tp_key(b) ? a : b;
}

static void gate_row(vector_job *j, int64_t r) {
    int64_t n = j->n, padded = (n + 31) / 32 * 32;
    const float *x = j->x + r * 2 * n;
    float *y = tp_scratch(0, (size_t)(padded + 3 * n) * 4), *gate = y + padded, *up = gate + n, *z = up + n;
    for (int64_t i = 0; i < n; i++) {
        gate[i] = j->interleaved ? x[2 * i] : x[i];
        up[i] = j->interleaved ? x[2 * i + 1] : x[n + i];
    }
    const float limit = j->limit;
    if (j->kind == 3) {
        for (int64_t i = 0; i < n; i++) {
            /* the limit is not zero, so a comparison orders as totalOrder does; a NaN stays */
            gate[i] = limit < gate[i] ? limit : gate[i];
            float u = limit < up[i] ? limit : up[i];
            up[i] = (-limit > u ? -limit : u) + 1.0f;
            z[i] = gate[i] * 1.702f;
        }
    } else if (j->kind == 1) {
        for (int64_t i = 0; i < n; i++) {
            float cubic = gate[i] * gate[i];
            cubic = cubic * gate[i];
            cubic = cubic * 0.044715f;
            z[i] = (gate[i] + cubic) * (float)1.5957691216057308;
        }
    } else memcpy(z, gate, (size_t)n * 4);
    if (j->kind == 2) for (int64_t i = 0; i < n; i++) gate[i] = z[i] = most(gate[i], 0.0f);
    else tp_sigmoid_array(z, z, n);
    for (int64_t i = 0; i < n; i++) y[i] = tp_canonical(gate[i] * z[i] * up[i]);
    for (int64_t i = n; i < padded; i++) y[i] = 0;
    if (j->out) memcpy(j->out + r * n, y, (size_t)n * 4);
    if (j->codes)
        tp_quantise_row(j->format, y, padded, j->codes + r * tp_row_bytes(j->format, padded), j->scales + r * (padded / 32));
}

/* kind: 0 silu, 1 gelu_tanh, 2 relu2, 3 clamped_swiglu. x [rows][2n]: gate and up, interleaved or in halves. */
void tp_gate(int kind, int interleaved, const float *x, float limit, int64_t rows, int64_t n, float *out,
                       int format, uint8_t *codes, uint8_t *scales) {
    vector_job j = {.kind = kind, .interleaved = interleaved, .x = x, .limit = limit, .count = rows, .n = n, .out = out,
                    .format = format, .codes = codes, .scales = scales};
    rows_loop(gate_row, &j, n * 8);
}

static void combine_row(vector_job *j, int64_t t) {
    const int32_t *slot = j->slot + t * j->k;
    const float *w = j->c + t * j->k, *base = j->weight;
    float *out = j->out + t * j->n;
    for (int64_t r = 0; r < j->k; r++) {
        const float *x = j->x + slot[r] * j->n;
        if (r == 0) for (int64_t i = 0; i < j->n; i++) out[i] = w[0] * x[i];
        else for (int64_t i = 0; i < j->n; i++) out[i] = out[i] + w[r] * x[i];
    }
    for (int64_t i = 0; i < j->n; i++) out[i] = tp_canonical(base ? base[t * j->n + i] + out[i] : out[i]);
}

/* out[t] = base[t] + (w[t][0]·x[slot[t][0]] + w[t][1]·x[slot[t][1]] + …), the sum from left to right */
void tp_combine(const float *x, const int32_t *slot, const float *w, const float *base, int64_t tokens,
                          int64_t k, int64_t n, float *out) {
    vector_job j = {.x = x, .slot = slot, .c = w, .weight = base, .count = tokens, .k = k, .n = n, .out = out};
    rows_loop(combine_row, &j, n * k / 4);
}

/* Indices of the k largest of each row, largest first; of equals the lower index. */
void tp_top_k(const float *x, int64_t rows, int64_t n, int64_t k, int32_t *out) {
    for (int64_t r = 0; r < rows; r++, x += n, out += k) {
        int64_t held = 0;
        for (int64_t i = 0; i < n; i++) {
            int32_t key = tp_key(tp_canonical(x[i]));
            int64_t at = held;
            while (at > 0 && key > tp_key(tp_canonical(x[out[at - 1]]))) at--;
            if (at >= k) continue;
            int64_t end = held < k ? held : k - 1;
            for (int64_t j = end; j > at; j--) out[j] = out[j - 1];
            out[at] = (int32_t)i;
            if (held < k) held++;
        }
    }
}

typedef struct { void (*each)(vector_job *, int64_t); vector_job *j; int64_t per; } loop_job;

static void loop_task(void *context, int64_t task) {
    loop_job *l = context;
    int64_t stop = (task + 1) * l->per < l->j->count ? (task + 1) * l->per : l->j->count;
    for (int64_t r = task * l->per; r < stop; r++) l->each(l->j, r);
}

/* `work`: roughly how much one row is; small loops are not worth waking threads for */
static void rows_loop(void (*each)(vector_job *, int64_t), vector_job *j, int64_t work) {
    int64_t per = 1 + 8192 / (work + 1);
    loop_job l = {each, j, per};
    tp_parallel(loop_task, &l, (j->count + per - 1) / per, per * work * 50);
}

void tp_add(const float *a, const float *b, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) out[i] = tp_canonical(a[i] + b[i]);
}

void tp_bf16_rows(const uint16_t *x, const int32_t *index, int64_t rows, int64_t n, float *out) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) out[r * n + i] = tp_float((uint32_t)x[(int64_t)index[r] * n + i] << 16);
}
