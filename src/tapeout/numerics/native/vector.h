/* Vector operations that depend on the instruction set. */
#ifndef TAPEOUT_VECTOR_H
#define TAPEOUT_VECTOR_H

#include "common.h"

extern int32_t tp_exp2_columns[3 * 64], tp_reciprocal_columns[3 * 128]; /* coefficient by coefficient */

void tp_exp2_array(const float *x, float *y, int64_t n);
void tp_sigmoid_array(const float *x, float *y, int64_t n);
void tp_exp2_avx512(const float *x, float *y, int64_t n);
void tp_sigmoid_avx512(const float *x, float *y, int64_t n);
void tp_quantise_int8_avx512(const float *x, int64_t k, uint8_t *codes, uint8_t *scales);
/* One query row of an attention tile: scores s [width], of which from … to − 1 are visible, become probabilities
 * against the new maximum, which is returned; c = 2^(top − new), total = the sum of the probabilities. */
float tp_tile_row(float *s, int64_t width, int64_t from, int64_t to, float factor, float top, float *c, float *total);
float tp_tile_row_avx512(float *s, int64_t width, int64_t from, int64_t to, float factor, float top, float *c, float *total);

#endif
