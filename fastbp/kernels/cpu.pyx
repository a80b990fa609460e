"""Which levels this CPU runs. What belongs here: nothing that needs a level itself."""

cdef extern from *:
    """
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    /* GCC's __builtin_cpu_supports also asks whether the operating system saves the registers */
    static int fastbp_has_avx2(void)
    {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    static int fastbp_has_avx512(void)
    {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               fastbp_has_avx2();
    }
    #else
    static int fastbp_has_avx2(void) { return 0; }
    static int fastbp_has_avx512(void) { return 0; }
    #endif
    #ifndef FASTBP_LEVELS
    #define FASTBP_LEVELS "baseline"
    #endif
    """
    bint has_avx2 "fastbp_has_avx2"()
    bint has_avx512 "fastbp_has_avx512"()
    const char *LEVELS "FASTBP_LEVELS"

# "level:flags;level:flags", set by setup.py
flags = dict(pair.split(":") for pair in LEVELS.decode().split(";"))
built_levels = tuple(flags)


def supports(str level):
    """Whether this CPU can run a level."""
    if level == "avx512":
        return bool(has_avx512())
    if level == "avx2":
        return bool(has_avx2())
    return level == "baseline"
