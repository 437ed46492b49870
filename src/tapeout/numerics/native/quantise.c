/* convert.py in C: FP32 and BF16 rows to blocks; weights laid out for the matrix kernels. */
#include "vector.h"

static inline int block_code(const float *x, int emax) {
    uint32_t largest = 0;
    for (int i = 0; i < TP_BLOCK; i++) {
        uint32_t b = tp_bits(x[i]) & 0x7FFFFFFF;
        largest = b > largest ? b : largest;
    }
    int field = (int)(largest >> 23);
    return field == 255 ? 255 : field > emax ? field - emax : 0;
}

static inline int float_code(double value, int mantissa_bits, int largest) {
    double magnitude = value < 0 ? -value : value;
    if (magnitude > largest) magnitude = largest;
    uint64_t b;
    memcpy(&b, &magnitude, 8);
    int e = (int)(b >> 52) - 1023 - mantissa_bits;
    double quantum = tp_pow2(e > 0 ? e : 0);
    int64_t n = (int64_t)(tp_rint(magnitude / quantum) * quantum);
    if (n > largest) n = largest;
    int code = (int)n;
    if (n >= (1 << mantissa_bits)) {
        int top = 63 - __builtin_clzll((uint64_t)n);
        code = ((top - mantissa_bits + 1) << mantissa_bits) | ((int)(n >> (top - mantissa_bits)) - (1 << mantissa_bits));
    }
    return code && value < 0 ? -code : code;
}

static inline void quantise_integers(const float *x, double factor, double largest, int16_t *out) {
    const double magic = 6755399441055744.0;
    for (int i = 0; i < TP_BLOCK; i++) {
        double v = (double)x[i] * factor;
        v = v > largest ? largest : v < -largest ? -largest : v;
        v = v + magic;
        out[i] = (int16_t)(v - magic);
    }
}

void tp_quantise_row(int format, const float *x, int64_t k, uint8_t *codes, uint8_t *scales) {
#if TP_X86
    if (format == TP_MXINT8 && tp_level == TP_AVX512) { tp_quantise_int8_avx512(x, k, codes, scales); return; }
#endif
    int emax = format == TP_MXFP4 ? 2 : format == TP_MXFP8 ? 8 : 0;
    int64_t bytes = tp_row_bytes(format, TP_BLOCK);
    for (int64_t b = 0; b < k / TP_BLOCK; b++, x += TP_BLOCK, codes += bytes) {
        int code = block_code(x, emax);
        scales[b] = (uint8_t)code;
        if (code == 255) { memset(codes, 0, (size_t)bytes); continue; }
        double factor = tp_pow2(tp_fraction(format) - (code - 127));
        if (format == TP_MXINT8 || format == TP_MXINT15) {
            int16_t v[TP_BLOCK];
            quantise_integers(x, factor, format == TP_MXINT8 ? 127.0 : 16383.0, v);
            if (format == TP_MXINT15) memcpy(codes, v, sizeof v);
            else for (int i = 0; i < TP_BLOCK; i++) ((int8_t *)codes)[i] = (int8_t)v[i];
        } else if (format == TP_MXFP8) {
            for (int i = 0; i < TP_BLOCK; i++) {
                int c = float_code((double)x[i] * factor, 3, 448 << 9);
                codes[i] = (uint8_t)(c < 0 ? -c | 0x80 : c);
            }
        } else {
            for (int i = 0; i < TP_BLOCK; i += 2) {
                int lo = float_code((double)x[i] * factor, 1, 12), hi = float_code((double)x[i + 1] * factor, 1, 12);
                codes[i / 2] = (uint8_t)((lo < 0 ? -lo | 8 : lo) | (hi < 0 ? -hi | 8 : hi) << 4);
            }
        }
    }
}

static double fp8_value(int code) {
    int e = (code >> 3) & 15, m = code & 7, v = e ? (8 + m) << (e - 1) : m;
    if ((code & 0x7F) == 0x7F) v = 0;
    return code & 0x80 ? -v : v;
}

static double fp8_table[256];

void tp_make_tables(void) {
    for (int c = 0; c < 256; c++) fp8_table[c] = fp8_value(c);
}

int tp_block_integers(int format, const uint8_t *codes, double *out) {
    static const double fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    int nan = 0;
    if (format == TP_MXFP4) {
        for (int i = 0; i < TP_BLOCK / 2; i++) out[2 * i] = fp4[codes[i] & 15], out[2 * i + 1] = fp4[codes[i] >> 4];
    } else if (format == TP_MXINT8) {
        for (int i = 0; i < TP_BLOCK; i++) out[i] = ((const int8_t *)codes)[i];
    } else if (format == TP_MXINT15) {
        int16_t v[TP_BLOCK];
        memcpy(v, codes, sizeof v);
        for (int i = 0; i < TP_BLOCK; i++) out[i] = v[i];
    } else {
        for (int i = 0; i < TP_BLOCK; i++) out[i] = fp8_table[codes[i]], nan |= (codes[i] & 0x7F) == 0x7F;
    }
    return nan;
}

/* source: 0 float32, 1 BF16. Rows of k; stride in elements. */
static const float *row_floats(int source, const void *x, int64_t stride, int64_t row, int64_t k, float *buffer) {
    int64_t padded = (k + TP_BLOCK - 1) / TP_BLOCK * TP_BLOCK;
    if (source == 0) {
        const float *p = (const float *)x + row * stride;
        if (padded == k) return p;
        memcpy(buffer, p, (size_t)k * 4);
    } else {
        const uint16_t *p = (const uint16_t *)x + row * stride;
        for (int64_t i = 0; i < k; i++) buffer[i] = tp_float((uint32_t)p[i] << 16);
    }
    for (int64_t i = k; i < padded; i++) buffer[i] = 0;
    return buffer;
}

typedef struct {
    int source, format;
    const void *x;
    int64_t stride, rows, k;
    uint8_t *codes, *scales;
} quantise_job;

static void quantise_task(void *context, int64_t task) {
    quantise_job *j = context;
    int64_t padded = (j->k + TP_BLOCK - 1) / TP_BLOCK * TP_BLOCK, blocks = padded / TP_BLOCK;
    float *buffer = tp_scratch(0, (size_t)padded * 4);
    int64_t stop = (task + 1) * TP_TILE < j->rows ? (task + 1) * TP_TILE : j->rows;
    if (j->format != TP_MXINT8_PACKED) {
        int64_t bytes = tp_row_bytes(j->format, padded);
        for (int64_t r = task * TP_TILE; r < stop; r++)
            tp_quantise_row(j->format, row_floats(j->source, j->x, j->stride, r, j->k, buffer), padded,
                            j->codes + r * bytes, j->scales + r * blocks);
        return;
    }
    /* tile [blocks][8][16 outputs][4], elements + 128; scales [blocks][16]; outputs beyond the last are zeros */
    uint8_t *row = tp_scratch(1, (size_t)(padded + blocks)), *scale = row + padded;
    uint8_t *tile = j->codes + task * TP_TILE * padded, *tile_scales = j->scales + task * TP_TILE * blocks;
    for (int64_t r = task * TP_TILE; r < (task + 1) * TP_TILE; r++) {
        int64_t lane = r % TP_TILE;
        if (r < stop)
            tp_quantise_row(TP_MXINT8, row_floats(j->source, j->x, j->stride, r, j->k, buffer), padded, row, scale);
        else memset(row, 0, (size_t)(padded + blocks));
        for (int64_t g = 0; g < padded / 4; g++)
            for (int i = 0; i < 4; i++) tile[(g * TP_TILE + lane) * 4 + i] = (uint8_t)(row[4 * g + i] ^ 0x80);
        for (int64_t b = 0; b < blocks; b++) tile_scales[b * TP_TILE + lane] = scale[b];
    }
}

typedef struct {
    int format;
    const float *x;
    int64_t tokens, heads, dim, capacity, start;
    uint8_t *codes, *scales;
} append_job;

static void append_task(void *context, int64_t task) {
    append_job *j = context;
    int64_t padded = (j->dim + TP_BLOCK - 1) / TP_BLOCK * TP_BLOCK, bytes = tp_row_bytes(j->format, padded);
    float *buffer = tp_scratch(0, (size_t)padded * 4);
    for (int64_t r = task * TP_TILE; r < (task + 1) * TP_TILE && r < j->tokens * j->heads; r++) {
        int64_t at = r % j->heads * j->capacity + j->start + r / j->heads;
        tp_quantise_row(j->format, row_floats(0, j->x, j->dim, r, j->dim, buffer), padded, j->codes + at * bytes,
                        j->scales + at * (padded / TP_BLOCK));
    }
}

/* x [tokens][heads][dim] to positions start … of a cache [heads][capacity][…] */
void tp_append(int format, const float *x, int64_t tokens, int64_t heads, int64_t dim, int64_t capacity, int64_t start,
               uint8_t *codes, uint8_t *scales) {
    append_job j = {format, x, tokens, heads, dim, capacity, start, codes, scales};
    tp_parallel(append_task, &j, (tokens * heads + TP_TILE - 1) / TP_TILE, TP_TILE * dim * 20);
}

/* x [rows, k] to `format`; k is padded with zeros to a multiple of 32. Packed weights: see quantise_task. */
void tp_quantise(int source, int format, const void *x, int64_t stride, int64_t rows, int64_t k,
                           uint8_t *codes, uint8_t *scales) {
    quantise_job j = {source, format, x, stride, rows, k, codes, scales};
    tp_parallel(quantise_task, &j, (rows + TP_TILE - 1) / TP_TILE, TP_TILE * k * 50);
}
