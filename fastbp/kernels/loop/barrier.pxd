"""A barrier for threads that already run: spin for a bounded time, then sleep.

What belongs here: atomics. A spin barrier costs 90 ns between two threads that both have a core.
Where others want the cores, a thread that waits must leave its own: on Linux it sleeps and is
woken, and the scheduler then runs it at once; elsewhere it yields (bench/threads.py).
A compiler without GCC's atomics gets no threads (MAX_THREADS is 1), not wrong ones.
"""
cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define FASTBP_MAX_THREADS 256
    #if defined(_WIN32)
    /* not windows.h, whose macros are named as anything */
    __declspec(dllimport) int __stdcall SwitchToThread(void);
    #define FASTBP_YIELD() SwitchToThread()
    #elif defined(__linux__)
    #include <limits.h>
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #define FASTBP_SLEEP(word, value) \
        (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0)
    #define FASTBP_WAKE(word) \
        (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0)
    #else
    #include <sched.h>
    #define FASTBP_YIELD() sched_yield()
    #endif
    #ifdef FASTBP_YIELD
    #define FASTBP_SLEEP(word, value) FASTBP_YIELD()
    #define FASTBP_WAKE(word) ((void)0)
    #endif
    #if defined(__x86_64__) || defined(__i386__)
    #define FASTBP_PAUSE() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define FASTBP_PAUSE() __asm__ __volatile__("yield")
    #else
    #define FASTBP_PAUSE() ((void)0)
    #endif
    typedef struct { int waiting; int round; int sleeping; int given_up; } fastbp_barrier;
    static inline void fastbp_barrier_wait(fastbp_barrier *b, int n)
    {
        int round, spins = 0;
        if (n == 1) return;
        round = __atomic_load_n(&b->round, __ATOMIC_ACQUIRE);
        if (__atomic_add_fetch(&b->waiting, 1, __ATOMIC_ACQ_REL) == n) {
            __atomic_store_n(&b->waiting, 0, __ATOMIC_RELAXED);
            /* either this thread sees the sleeper, or the sleeper sees the new round */
            __atomic_store_n(&b->round, round + 1, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&b->sleeping, __ATOMIC_SEQ_CST)) FASTBP_WAKE(&b->round);
            return;
        }
        while (__atomic_load_n(&b->round, __ATOMIC_ACQUIRE) == round
               && !__atomic_load_n(&b->given_up, __ATOMIC_SEQ_CST)) {
            if (++spins < 1000) {
                FASTBP_PAUSE();
                continue;
            }
            __atomic_add_fetch(&b->sleeping, 1, __ATOMIC_SEQ_CST);
            FASTBP_SLEEP(&b->round, round);
            __atomic_sub_fetch(&b->sleeping, 1, __ATOMIC_SEQ_CST);
        }
    }
    /* Whoever waits is let go, and nobody waits again: a thread will not come. */
    static inline void fastbp_barrier_give_up(fastbp_barrier *b)
    {
        __atomic_store_n(&b->given_up, 1, __ATOMIC_SEQ_CST);
        /* who has not seen the flag sees another round than the one that it would sleep for */
        __atomic_add_fetch(&b->round, 1, __ATOMIC_SEQ_CST);
        FASTBP_WAKE(&b->round);
    }
    static inline int fastbp_read(int *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
    static inline void fastbp_raise(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELEASE); }
    #else
    #define FASTBP_MAX_THREADS 1
    typedef struct { int waiting; int round; int given_up; } fastbp_barrier;
    static inline void fastbp_barrier_wait(fastbp_barrier *b, int n) { (void)b; (void)n; }
    static inline void fastbp_barrier_give_up(fastbp_barrier *b) { b->given_up = 1; }
    static inline int fastbp_read(int *flag) { return *flag; }
    static inline void fastbp_raise(int *flag) { *flag = 1; }
    #endif
    """
    const int MAX_THREADS "FASTBP_MAX_THREADS"
    ctypedef struct Barrier "fastbp_barrier":
        int given_up
    void wait "fastbp_barrier_wait"(Barrier *barrier, int n_threads) noexcept nogil
    void give_up "fastbp_barrier_give_up"(Barrier *barrier) noexcept nogil
    bint is_raised "fastbp_read"(int *flag) noexcept nogil
    void raise_flag "fastbp_raise"(int *flag) noexcept nogil
