/* The pieces of the matrix product that depend on the instruction set. */
#ifndef TAPEOUT_MATMUL_H
#define TAPEOUT_MATMUL_H

#include "common.h"

/* Weights as they lie in memory: `n` outputs of `blocks` blocks. TP_MXINT8_PACKED: tiles of 16 outputs. */
typedef struct {
    int format;
    const uint8_t *codes, *scales;
    int64_t n, blocks;
} tp_weights;

/* The blocks of the contraction that a product takes: first, first + step, … */
typedef struct { int64_t first, step, count; } tp_range;

/* A tile made ready: [count][8][16][4] elements + bias, and [count][16] exponents (NaN: the block is NaN).
 * When not both sides have 8 bits: `wide` [count·32][16] instead, integers held in doubles. */
typedef struct { const uint8_t *w; const double *wide; const float *exponent; int bias; } tp_tile;

/* Activations made ready: int8 [m][count·32] in the order of the tile's elements and their sums over each block,
 * or `wide` [m][count·32]; exponents [m][count]. */
typedef struct { const int8_t *a; const int32_t *sum; const double *wide; const float *exponent; int64_t count; } tp_rows;

/* Expand 16 outputs of row-major weights (MXFP4 or MXINT8) from `row`. */
typedef void tp_expand(const tp_weights *w, int64_t row, tp_range range, uint8_t *out);
/* out[i][0..15] for the rows listed. */
typedef void tp_multiply(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m,
                         float (*out)[TP_TILE]);

tp_expand tp_expand_scalar, tp_expand_avx512;
/* Exponents of the blocks 0 … whole·4 − 1 of a tile of row-major weights, from rows of scales `stride` apart. */
void tp_exponents_avx512(const uint8_t *scales, int64_t stride, int64_t whole, int fraction, float *exponent);
/* One row times 16 outputs of row-major MXFP4 weights, expanded in registers. */
void tp_single_avx512(const tp_weights *w, int64_t row, tp_range range, const tp_rows *rows, int32_t index,
                      const float *exponent, float *out);
tp_multiply tp_multiply_scalar, tp_multiply_avx2, tp_multiply_avx512, tp_multiply_wide;
/* The above, by the instruction set in use. */
tp_expand tp_expand_any;
tp_multiply tp_multiply_any;
void tp_expand_wide(const tp_weights *w, int64_t row, tp_range range, double *out, float *exponent);
void tp_tile_exponents(const tp_weights *w, int64_t row, tp_range range, float *exponent);
/* Rows [m] of act codes and scales made ready in `memory` (tp_rows_bytes long). */
size_t tp_rows_bytes(int64_t m, int64_t count);
tp_rows tp_prepare_rows(int act_format, int weight_format, const uint8_t *codes, const uint8_t *scales, int64_t m,
                        int64_t blocks, tp_range range, void *memory);
float tp_block_exponent(int code, int fraction);

static inline int tp_narrow(int act_format, int weight_format) {
    return act_format == TP_MXINT8 && (weight_format == TP_MXFP4 || weight_format == TP_MXINT8 || weight_format == TP_MXINT8_PACKED);
}
static inline int tp_weight_bias(int format) { return format == TP_MXFP4 ? 12 : 128; }

#endif
