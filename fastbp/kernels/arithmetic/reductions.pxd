"""Row reductions: sums, products and maxima of a row, in one order of terms at every level.

What belongs here: reductions in LANES fixed partial results: they vectorise without reassociation,
so the bits do not depend on the level. What does not: anything that knows what a row means.
"""
from fastbp.kernels.arithmetic.real cimport real

cdef enum:
    LANES = 16  # fixed, so that a row's sum has the same bits at every vector width


cdef inline real sum_of_lanes(const real *lane) noexcept nogil:
    cdef real half[LANES / 2]
    cdef Py_ssize_t i
    for i in range(8):
        half[i] = lane[i] + lane[i + 8]
    for i in range(4):
        half[i] = half[i] + half[i + 4]
    return (half[0] + half[2]) + (half[1] + half[3])


cdef inline double sum_of_doubles(const double *lane) noexcept nogil:
    cdef double half[LANES / 2]
    cdef Py_ssize_t i
    for i in range(8):
        half[i] = lane[i] + lane[i + 8]
    for i in range(4):
        half[i] = half[i] + half[i + 4]
    return (half[0] + half[2]) + (half[1] + half[3])


cdef inline real row_sum(const real *x, Py_ssize_t n) noexcept nogil:
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    if n <= 4:  # an only output, or few: 14 % of a 2-16-1 step, batch 8
        return ((x[0] + (x[2] if n > 2 else <real>0))
                + ((x[1] if n > 1 else <real>0) + (x[3] if n > 3 else <real>0)))
    for i in range(LANES):
        lane[i] = <real>0
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] += x[j * LANES + i]
    for i in range(n % LANES):
        lane[i] += x[whole + i]
    return sum_of_lanes(lane)


cdef inline real row_dot(const real *x, const real *y, Py_ssize_t n) noexcept nogil:
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    for i in range(LANES):
        lane[i] = <real>0
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] += x[j * LANES + i] * y[j * LANES + i]
    for i in range(n % LANES):
        lane[i] += x[whole + i] * y[whole + i]
    return sum_of_lanes(lane)


cdef inline real row_max(const real *x, Py_ssize_t n) noexcept nogil:
    """Largest element; NaN is skipped (it reaches the result through the sum that follows)."""
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    for i in range(LANES):
        lane[i] = x[0]
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] = x[j * LANES + i] if x[j * LANES + i] > lane[i] else lane[i]
    for i in range(n % LANES):
        lane[i] = x[whole + i] if x[whole + i] > lane[i] else lane[i]
    for i in range(8):
        lane[i] = lane[i + 8] if lane[i + 8] > lane[i] else lane[i]
    for i in range(4):
        lane[i] = lane[i + 4] if lane[i + 4] > lane[i] else lane[i]
    for i in range(1, 4):
        lane[0] = lane[i] if lane[i] > lane[0] else lane[0]
    return lane[0]
