/* Shared by the native kernels: the same bits as the definitions in the Python files beside this folder.
 *
 * Compile with -ffp-contract=off: every multiplication and addition rounds by itself.
 */
#ifndef TAPEOUT_COMMON_H
#define TAPEOUT_COMMON_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define TP_X86 1
#include <immintrin.h>
#else
#define TP_X86 0
#endif

#define TP_BLOCK 32
#define TP_TILE 16 /* outputs of a weight tile */

enum { TP_SCALAR = 0, TP_AVX2 = 1, TP_AVX512 = 2 };
enum { TP_MXFP4 = 0, TP_MXINT8 = 1, TP_MXFP8 = 2, TP_MXINT15 = 3, TP_MXINT8_PACKED = 4 };

extern int tp_level; /* instruction set in use */

typedef void (*tp_task)(void *context, int64_t task);
/* Run task(context, 0 .. count-1) on the pool's threads and this one; returns when all are done. `work_each` is the
 * size of a task in multiply-accumulates of 8 bits (a vector operation counts for about a hundred). */
void tp_parallel(tp_task task, void *context, int64_t count, int64_t work_each);
/* This thread's scratch memory number `slot`, at least `bytes` long, 64-byte aligned. */
void *tp_scratch(int slot, size_t bytes);

static inline uint32_t tp_bits(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline float tp_float(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }
static inline float tp_canonical(float x) { return x != x ? tp_float(0x7FC00000u) : x; }
/* 2^e as a double, e in [-1022, 1023]. */
static inline double tp_pow2(int e) { uint64_t b = (uint64_t)(e + 1023) << 52; double d; memcpy(&d, &b, 8); return d; }
/* Nearest even integer of |x| < 2^51. */
static inline double tp_rint(double x) { const double c = 6755399441055744.0; double y = x + c; return y - c; }
/* Integer order of floats, as fp32.order_key. */
static inline int32_t tp_key(float x) { int32_t b = (int32_t)tp_bits(x); return b ^ ((b >> 31) & 0x7FFFFFFF); }
static inline float tp_unkey(int32_t k) { return tp_float((uint32_t)(k ^ ((k >> 31) & 0x7FFFFFFF))); }

static inline int tp_fraction(int format) {
    return format == TP_MXFP4 ? 1 : format == TP_MXFP8 ? 9 : format == TP_MXINT15 ? 13 : 6;
}
static inline int64_t tp_row_bytes(int format, int64_t k) {
    return format == TP_MXFP4 ? k / 2 : format == TP_MXINT15 ? 2 * k : k;
}

void tp_make_tables(void);
float tp_exp2(float x);
float tp_reciprocal(float x);
float tp_rsqrt(float x);
float tp_sigmoid(float x);
float tp_total(const float *x, int64_t n);
/* One row of k floats (k a multiple of 32) to codes and scales. */
void tp_quantise_row(int format, const float *x, int64_t k, uint8_t *codes, uint8_t *scales);
/* Elements of one block as integers; returns 1 if one of them is E4M3's NaN. */
int tp_block_integers(int format, const uint8_t *codes, double *out);

#endif
