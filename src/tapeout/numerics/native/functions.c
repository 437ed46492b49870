/* exp2, reciprocal, rsqrt, sigmoid: functions.py in C. The tables come from there, by tp_set_tables. */
#include "vector.h"

static const int64_t *exp2_table, *reciprocal_table, *rsqrt_table; /* [n][3] */
int32_t tp_exp2_columns[3 * 64], tp_reciprocal_columns[3 * 128];

void tp_set_tables(const int64_t *exp2, const int64_t *reciprocal, const int64_t *rsqrt) {
    exp2_table = exp2, reciprocal_table = reciprocal, rsqrt_table = rsqrt;
    tp_make_tables();
    for (int i = 0; i < 3 * 64; i++) tp_exp2_columns[i % 3 * 64 + i / 3] = (int32_t)exp2[i];
    for (int i = 0; i < 3 * 128; i++) tp_reciprocal_columns[i % 3 * 128 + i / 3] = (int32_t)reciprocal[i];
}

static inline int64_t interpolate(const int64_t *table, int64_t index, int64_t step) {
    const int64_t *c = table + 3 * index;
    int64_t square = (step * step) >> 22;
    return c[0] * 131072 + c[1] * step + c[2] * square * 16;
}

static inline float scaled(int64_t significand, int exponent) {
    return (float)((double)significand * tp_pow2(exponent));
}

typedef struct { int sign, e; int64_t fraction; } parts;

static inline parts split(float x) {
    uint32_t b = tp_bits(x);
    parts p = {(int)(b >> 31), (int)((b >> 23) & 0xFF) - 127, b & 0x7FFFFF};
    if (p.e == -127 && p.fraction) {
        int shift = __builtin_clz((uint32_t)p.fraction) - 8;
        p.e = -126 - shift;
        p.fraction = (p.fraction << shift) & 0x7FFFFF;
    }
    return p;
}

static inline int64_t fixed_point(int64_t significand, int shift) {
    if (shift >= 0) return significand << shift;
    return shift < -62 ? 0 : ((significand >> (-shift - 1)) + 1) >> 1;
}

float tp_exp2(float x) {
    if (x != x) return tp_float(0x7FC00000u);
    if (x == 0) return 1.0f;
    parts p = split(x);
    if (p.e >= 8) return p.sign ? 0.0f : tp_float(0x7F800000u);
    int64_t t = fixed_point(p.fraction | 0x800000, p.e + 1);
    if (p.sign) t = -t;
    return scaled(interpolate(exp2_table, (t >> 18) & 63, t & 0x3FFFF), (int)(t >> 24) - 44);
}

float tp_reciprocal(float x) {
    if (x != x) return tp_float(0x7FC00000u);
    uint32_t b = tp_bits(x), sign = b & 0x80000000u, magnitude = b ^ sign;
    if (!magnitude) return tp_float(sign | 0x7F800000u);
    if (magnitude == 0x7F800000u) return tp_float(sign);
    parts p = split(x);
    float y = scaled(interpolate(reciprocal_table, p.fraction >> 16, (p.fraction << 2) & 0x3FFFF), -p.e - 44);
    return sign ? -y : y;
}

float tp_rsqrt(float x) {
    if (x == 0) return tp_float((tp_bits(x) & 0x80000000u) | 0x7F800000u);
    if (!(x > 0)) return tp_float(0x7FC00000u);
    if (tp_bits(x) == 0x7F800000u) return 0.0f;
    parts p = split(x);
    int odd = p.e & 1;
    int64_t r = interpolate(rsqrt_table, (odd << 6) | (p.fraction >> 17), (p.fraction << 1) & 0x3FFFF);
    return scaled(r, -((p.e - odd) / 2) - 44);
}

float tp_sigmoid(float x) {
    if (x != x) return tp_float(0x7FC00000u);
    if (x == 0) return 0.5f;
    parts p = split(x);
    if (p.e >= 7) return p.sign ? 0.0f : 1.0f;
    int64_t t = fixed_point((p.fraction | 0x800000) * 3098164010LL, p.e - 30);
    if (!p.sign) t = -t;
    int64_t r = interpolate(exp2_table, (t >> 18) & 63, t & 0x3FFFF) >> 17;
    int64_t whole = t >> 24, one = 1LL << 27, grown;
    if (whole >= 0) grown = r + (one >> (whole > 28 ? 28 : whole));
    else grown = one + (r >> (whole < -28 ? 28 : -whole));
    int carry = (int)(grown >> 28), exponent = (int)(whole > 0 ? whole : 0) + carry;
    int64_t v = (grown >> (carry + 2)) & 0x1FFFFFF;
    return scaled(interpolate(reciprocal_table, v >> 18, v & 0x3FFFF), -exponent - 44);
}

void tp_exp2_array(const float *x, float *y, int64_t n) {
#if TP_X86
    if (tp_level == TP_AVX512) { tp_exp2_avx512(x, y, n); return; }
#endif
    for (int64_t i = 0; i < n; i++) y[i] = tp_exp2(x[i]);
}

void tp_sigmoid_array(const float *x, float *y, int64_t n) {
#if TP_X86
    if (tp_level == TP_AVX512) { tp_sigmoid_avx512(x, y, n); return; }
#endif
    for (int64_t i = 0; i < n; i++) y[i] = tp_sigmoid(x[i]);
}

/* which: 0 exp2, 1 reciprocal, 2 rsqrt, 3 sigmoid */
typedef struct { int which; const float *x; float *y; int64_t n; } map_job;

static void map_task(void *context, int64_t task) {
    map_job *j = context;
    int64_t stop = (task + 1) * 4096 < j->n ? (task + 1) * 4096 : j->n;
    int64_t start = task * 4096;
    if (j->which == 0) tp_exp2_array(j->x + start, j->y + start, stop - start);
    else if (j->which == 3) tp_sigmoid_array(j->x + start, j->y + start, stop - start);
    else for (int64_t i = start; i < stop; i++) j->y[i] = j->which == 1 ? tp_reciprocal(j->x[i]) : tp_rsqrt(j->x[i]);
}

void tp_map(int which, const float *x, float *y, int64_t n) {
    map_job j = {which, x, y, n};
    tp_parallel(map_task, &j, (n + 4095) / 4096, 4096 * 200);
}
