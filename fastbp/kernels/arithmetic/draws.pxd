"""Random numbers of a generator of NumPy's, drawn without the GIL.

What belongs here: the draws of `numpy.random.RandomState.shuffle`, number for number, so that a run
has scikit-learn's orders and leaves the generator where NumPy would. What does not: the engine's
own stream (random.pxd).
Source: numpy/random/bitgen.h, which is public; `random_interval` of NumPy's distributions.c.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef struct bitgen_t:
    void *state
    uint64_t (*next_uint64)(void *state) noexcept nogil
    uint32_t (*next_uint32)(void *state) noexcept nogil
    double (*next_double)(void *state) noexcept nogil
    uint64_t (*next_raw)(void *state) noexcept nogil


cdef inline void shuffle_by(bitgen_t *bits, Py_ssize_t *order, Py_ssize_t n) noexcept nogil:
    """The order of the next epoch from that of the last, by Fisher and Yates; n < 2^32.
    order  # OUT"""
    cdef uint32_t mask, j
    cdef Py_ssize_t i, kept
    mask = 1
    while mask < <uint32_t>(n - 1):
        mask = mask << 1 | 1
    for i in range(n - 1, 0, -1):
        if <uint32_t>i == mask >> 1:  # the least 2^k - 1 that i is not above
            mask >>= 1
        j = bits.next_uint32(bits.state) & mask
        while j > <uint32_t>i:
            j = bits.next_uint32(bits.state) & mask
        kept = order[i]
        order[i] = order[j]
        order[j] = kept
