"""Which levels this CPU runs. What belongs here: nothing that needs a level itself."""

cdef extern from *:
    """
    #if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
    #include <cpuid.h>
    /* AVX, FMA and all of `features` (leaf 7's EBX), whose registers the operating system saves
     * (`states`). Not __builtin_cpu_supports: with clang-cl nothing is linked that answers it. */
    static int fastbp_has(unsigned features, unsigned states)
    {
        const unsigned first = 1u << 12 | 1u << 27 | 1u << 28; /* FMA, OSXSAVE, AVX */
        unsigned a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d) || (c & first) != first) return 0;
        __asm__ __volatile__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
        if ((a & states) != states) return 0;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & features) == features;
    }
    static int fastbp_has_avx2(void) { return fastbp_has(1u << 5, 0x6); }
    static int fastbp_has_avx512(void) /* F, DQ, BW, VL */
    {
        return fastbp_has(1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 0xe6);
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
flags = dict(pair.split(":", 1) for pair in LEVELS.decode().split(";"))
built_levels = tuple(flags)


def supports(str level):
    """Whether this CPU can run a level."""
    if level == "avx512":
        return bool(has_avx512())
    if level == "avx2":
        return bool(has_avx2())
    return level == "baseline"
