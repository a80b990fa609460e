"""Dropout: a^l of a layer times a mask of 0 and 1 / (1 - rate), so that its mean stays.

What belongs here: the mask, a hash of (seed, step, layer, row of the batch, unit). It is made again
wherever it is needed and never stored, and depends neither on threads nor on level or dtype. What
does not: which layers drop, and when (passes.pxi).
Source: Srivastava et al. (2014), "Dropout". The hash mixes 32 bits by shifts and multiplications,
with odd constants of Wellons (2018), "Prospecting for hash functions" (triple32).
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fastbp.kernels.arithmetic.random cimport next_random, stream
from fastbp.kernels.arithmetic.real cimport real

cdef struct Dropout:
    const double *rates         # of a^0, ..., a^{L-1},
    double factor               # each times this
    uint64_t seed, step
    const Py_ssize_t *places    # of a batch's rows, where others are elsewhere; NULL: 0, 1, ...


cdef inline real kept(uint32_t j, uint32_t key, uint32_t other, uint32_t first_kept,
                      real scale) noexcept nogil:
    """The mask of unit j: scale where its hash is at least `first_kept`, else 0."""
    cdef uint32_t h = j * <uint32_t>0x9E3779B9 + key
    h ^= h >> 17
    h *= <uint32_t>0xED5AD4BB
    h ^= other  # two rows whose sequences meet in the first key part here
    h ^= h >> 11
    h *= <uint32_t>0xAC4C1B51
    h ^= h >> 15
    h *= <uint32_t>0x31848BAB
    h ^= h >> 14
    return scale if h >= first_kept else <real>0


cdef inline uint64_t stream_of_layer(const Dropout *dropout, int l) noexcept nogil:
    # a stream of its own beside that of the order of an epoch (random.pxd)
    cdef uint64_t state = stream(dropout.seed ^ <uint64_t>0xA5A5F00DC3C30FF1, dropout.step)
    state += <uint64_t>l * <uint64_t>0xD1342543DE82EF95
    return next_random(&state)


cdef inline Py_ssize_t place_of(const Dropout *dropout, Py_ssize_t row) noexcept nogil:
    """Of a row of the batch at hand, by which its masks go."""
    return row if dropout.places == NULL else dropout.places[row]


cdef inline uint64_t key_of_row(uint64_t of_layer, Py_ssize_t row) noexcept nogil:
    cdef uint64_t state = of_layer + <uint64_t>row * <uint64_t>0x9E3779B97F4A7C15
    return next_random(&state)


cdef inline void drop_listed(const Dropout *dropout, Py_ssize_t first, Py_ssize_t m,
                             const Py_ssize_t *starts, const int32_t *index,
                             real *a) noexcept nogil:
    # `drop` of the input as lists: what is in none is 0, dropped or not                  a  # OUT
    cdef double rate = dropout.factor * dropout.rates[0]
    cdef uint32_t first_kept = <uint32_t>(rate * 4294967296.0)
    cdef real scale = <real>(1.0 / (1.0 - rate))
    cdef uint64_t of_layer, key
    cdef Py_ssize_t s, i
    if rate == 0.0:
        return
    of_layer = stream_of_layer(dropout, 0)
    for s in range(m):
        key = key_of_row(of_layer, place_of(dropout, first + s))
        for i in range(starts[s], starts[s + 1]):
            a[i] = a[i] * kept(<uint32_t>index[i], <uint32_t>key, <uint32_t>(key >> 32), first_kept,
                               scale)


cdef inline void drop(const Dropout *dropout, int l, Py_ssize_t first, Py_ssize_t m, Py_ssize_t n,
                      Py_ssize_t row, real *a, real *slope) noexcept nogil:
    # a <- a * mask of layer l for rows first, ..., first + m - 1 of the batch   (m, n)    a  # OUT
    # and where it is not NULL slope <- slope * mask, with rows as long              slope  # OUT
    cdef double rate = dropout.factor * dropout.rates[l]
    cdef uint32_t first_kept = <uint32_t>(rate * 4294967296.0)
    cdef real scale = <real>(1.0 / (1.0 - rate)), mask
    cdef uint64_t of_layer, key
    cdef uint32_t low, high
    cdef Py_ssize_t s
    cdef int j
    if rate == 0.0:
        return
    of_layer = stream_of_layer(dropout, l)
    for s in range(m):
        key = key_of_row(of_layer, place_of(dropout, first + s))
        low, high = <uint32_t>key, <uint32_t>(key >> 32)
        if slope == NULL:
            for j in range(<int>n):
                a[s * row + j] = a[s * row + j] * kept(<uint32_t>j, low, high, first_kept, scale)
        else:
            for j in range(<int>n):
                mask = kept(<uint32_t>j, low, high, first_kept, scale)
                a[s * row + j] = a[s * row + j] * mask
                slope[s * row + j] = slope[s * row + j] * mask
