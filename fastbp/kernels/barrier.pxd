"""A barrier for threads that already run: spin for a bounded time, then yield.

What belongs here: atomics. A spin barrier costs 90 ns between two threads that both have a core; on
a machine with more threads than cores yielding keeps a waiting thread from starving the others.
A compiler without GCC's atomics gets no threads (MAX_THREADS is 1), not wrong ones.
"""
cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FASTBP_MAX_THREADS 256
    #if defined(_WIN32)
    #include <windows.h>
    #define FASTBP_YIELD() SwitchToThread()
    #else
    #include <sched.h>
    #define FASTBP_YIELD() sched_yield()
    #endif
    #if defined(__x86_64__) || defined(__i386__)
    #define FASTBP_PAUSE() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define FASTBP_PAUSE() __asm__ __volatile__("yield")
    #else
    #define FASTBP_PAUSE() ((void)0)
    #endif
    typedef struct { int waiting; int round; } fastbp_barrier;
    static inline void fastbp_barrier_wait(fastbp_barrier *b, int n)
    {
        int round, spins = 0;
        if (n == 1) return;
        round = __atomic_load_n(&b->round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&b->waiting, 1, __ATOMIC_ACQ_REL) == n) {
            __atomic_store_n(&b->waiting, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&b->round, round + 1, __ATOMIC_RELEASE);
            return;
        }
        while (__atomic_load_n(&b->round, __ATOMIC_ACQUIRE) == round) {
            if (++spins < 2000) FASTBP_PAUSE();
            else FASTBP_YIELD();
        }
    }
    static inline int fastbp_read(int *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
    static inline void fastbp_raise(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELEASE); }
    #else
    #define FASTBP_MAX_THREADS 1
    typedef struct { int waiting; int round; } fastbp_barrier;
    static inline void fastbp_barrier_wait(fastbp_barrier *b, int n) { (void)b; (void)n; }
    static inline int fastbp_read(int *flag) { return *flag; }
    static inline void fastbp_raise(int *flag) { *flag = 1; }
    #endif
    """
    const int MAX_THREADS "FASTBP_MAX_THREADS"
    ctypedef struct Barrier "fastbp_barrier":
        int waiting
        int round
    void wait "fastbp_barrier_wait"(Barrier *barrier, int n_threads) noexcept nogil
    bint is_raised "fastbp_read"(int *flag) noexcept nogil
    void raise_flag "fastbp_raise"(int *flag) noexcept nogil
