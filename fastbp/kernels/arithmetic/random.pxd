"""Random numbers for the training loop: splitmix64, one stream for each (seed, epoch).

What belongs here: what the nogil loop draws. The order of an epoch depends on the seed and the
epoch alone, so a run that resumes needs no generator state. What does not: initial weights, which
come from NumPy's Generator.
Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators"; bounded numbers
by Lemire (2019), "Fast random integer generation in an interval".
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    DRAWS = 64  # made at once


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    return mixed(state[0])


cdef inline uint64_t stream(uint64_t seed, uint64_t epoch) noexcept nogil:
    """The state at which the stream of (seed, epoch) begins."""
    cdef uint64_t state = seed
    state = next_random(&state) ^ (epoch * <uint64_t>0xD1342543DE82EF95)
    return next_random(&state)


cdef inline uint32_t below(uint32_t n, uint64_t *state) noexcept nogil:
    """Uniform in 0..n-1, without bias."""
    cdef uint64_t product = (next_random(state) >> 32) * n
    cdef uint32_t low = <uint32_t>product, threshold
    if low < n:
        threshold = <uint32_t>(-<long long>n) % n
        while low < threshold:
            product = (next_random(state) >> 32) * n
            low = <uint32_t>product
    return <uint32_t>(product >> 32)


cdef inline bint all_below(uint64_t state, uint64_t n, Py_ssize_t m,
                           uint64_t *found) noexcept nogil:
    """What `below` gives of n, n - 1, ..., n - m + 1; False where one may have to be drawn again.

    The state counts, so that they can be made side by side in vectors.                 found  # OUT
    """
    cdef uint64_t product, again = 0
    cdef uint64_t k
    for k in range(<uint64_t>m):
        product = (mixed(state + (k + 1) * <uint64_t>0x9E3779B97F4A7C15) >> 32) * (n - k)
        found[k] = product >> 32
        again |= (product & <uint64_t>0xFFFFFFFF) < n - k
    return again == 0


cdef inline void shuffle(Py_ssize_t *order, Py_ssize_t n, const Py_ssize_t *rows, uint64_t seed,
                         uint64_t epoch) noexcept nogil:
    """`rows` (NULL: 0..n-1) in the order of (seed, epoch), by Fisher and Yates; n < 2^32.
    order  # OUT"""
    cdef uint64_t[DRAWS] places
    cdef uint64_t state = stream(seed, epoch)
    cdef Py_ssize_t i, j, m, kept, last = n - 1
    for i in range(n):
        order[i] = i if rows == NULL else rows[i]
    while last > 0:
        m = min(last, DRAWS)
        if all_below(state, last + 1, m, places):
            state += m * <uint64_t>0x9E3779B97F4A7C15
        else:
            for i in range(m):
                places[i] = below(<uint32_t>(last + 1 - i), &state)
        for i in range(m):
            j = places[i]
            kept = order[last - i]
            order[last - i] = order[j]
            order[j] = kept
        last -= m
