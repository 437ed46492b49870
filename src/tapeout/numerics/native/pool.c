/* A pool of threads for loops of independent tasks, and each thread's scratch memory.
 *
 * Workers spin briefly before they sleep, since decode issues a loop every few tens of microseconds. A loop ends when
 * its tasks are done: a worker that the system has not scheduled yet is not waited for, and finds the loop closed.
 * A second caller, or a process forked from the pool's owner, runs its loop by itself.
 */
#include "common.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAX_THREADS 64
#define SPIN 4000
#define SMALL 1000000 /* work not worth a second thread: about 20 microseconds */

int tp_level = TP_SCALAR;

static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER, sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int threads = 1, started = 0, sleepers = 0;
static pid_t pool_pid = 0;
static tp_task job_task;
static void *job_context;
static int64_t job_count;
static atomic_llong job_next;
static atomic_int job_generation, job_wanted, job_open, job_running;

static void pause_cpu(void) {
#if TP_X86
    __builtin_ia32_pause();
#endif
}

static unsigned standard_rounding(void) {
#if TP_X86
    unsigned old = _mm_getcsr();
    _mm_setcsr(0x1F80); /* nearest even, subnormals kept, no traps */
    return old;
#else
    return 0;
#endif
}

static void restore_rounding(unsigned old) {
#if TP_X86
    _mm_setcsr(old);
#else
    (void)old;
#endif
}

static void work(void) {
    int64_t i;
    while ((i = atomic_fetch_add(&job_next, 1)) < job_count) job_task(job_context, i);
}

static void *worker(void *argument) {
    int index = (int)(intptr_t)argument, seen = 0;
    standard_rounding();
    for (;;) {
        int spin = 0;
        while (atomic_load(&job_generation) == seen) {
            if (++spin < SPIN) { pause_cpu(); continue; }
            pthread_mutex_lock(&sleep_lock);
            sleepers++;
            while (atomic_load(&job_generation) == seen) pthread_cond_wait(&wake, &sleep_lock);
            sleepers--;
            pthread_mutex_unlock(&sleep_lock);
        }
        seen = atomic_load(&job_generation);
        if (index < atomic_load(&job_wanted)) {
            atomic_fetch_add(&job_running, 1); /* before looking whether the loop is open: see tp_parallel */
            if (atomic_load(&job_open)) work();
            atomic_fetch_sub(&job_running, 1);
        }
    }
    return NULL;
}

static void start_workers(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (started < threads - 1) {
        pthread_t id;
        if (pthread_create(&id, &attributes, worker, (void *)(intptr_t)started)) break;
        started++;
    }
    pthread_attr_destroy(&attributes);
}

void tp_set_threads(int count) {
    pthread_mutex_lock(&owner);
    threads = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
    pthread_mutex_unlock(&owner);
}

void tp_parallel(tp_task task, void *context, int64_t count, int64_t work_each) {
    unsigned rounding = standard_rounding();
    if (count > 1 && count * work_each > SMALL && threads > 1 && pthread_mutex_trylock(&owner) == 0) {
        if (!pool_pid) pool_pid = getpid();
        int helpers = 0;
        if (pool_pid == getpid()) {
            start_workers();
            helpers = started < threads - 1 ? started : threads - 1;
        }
        job_task = task, job_context = context, job_count = count;
        atomic_store(&job_next, 0);
        atomic_store(&job_wanted, helpers);
        if (helpers) {
            atomic_store(&job_open, 1);
            pthread_mutex_lock(&sleep_lock);
            atomic_fetch_add(&job_generation, 1);
            if (sleepers) pthread_cond_broadcast(&wake);
            pthread_mutex_unlock(&sleep_lock);
        }
        work();
        atomic_store(&job_open, 0);
        for (int spin = 0; atomic_load(&job_running) > 0;) {
            if (++spin < SPIN) pause_cpu();
            else sched_yield(), spin = 0;
        }
        pthread_mutex_unlock(&owner);
    } else {
        for (int64_t i = 0; i < count; i++) task(context, i);
    }
    restore_rounding(rounding);
}

#define SLOTS 8
static _Thread_local struct { void *memory; size_t bytes; } scratch[SLOTS];

void *tp_scratch(int slot, size_t bytes) {
    if (scratch[slot].bytes < bytes) {
        free(scratch[slot].memory);
        size_t size = (bytes + bytes / 4 + 4095) & ~(size_t)4095;
        scratch[slot].memory = NULL;
        if (posix_memalign(&scratch[slot].memory, 64, size)) abort();
        scratch[slot].bytes = size;
    }
    return scratch[slot].memory;
}

static int best_level(void) {
#if TP_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        return TP_AVX512;
    if (__builtin_cpu_supports("avx2")) return TP_AVX2;
#endif
    return TP_SCALAR;
}

int tp_set_level(int level) {
    int best = best_level();
    if (level >= 0) tp_level = level < best ? level : best;
    return tp_level;
}
