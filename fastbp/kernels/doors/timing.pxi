# Doors for tests and benchmarks: one function of the arithmetic at a time.
#
# What belongs here: what tests/kernels/test_elementary.py and fastbp/benchmark.py ask for. What
# does not: anything that a network needs.

def elementary(str name, const real[::1] x, real[::1] out):
    """out = name(x), for the tests of elementary.pxd."""
    cdef Py_ssize_t i, n = x.shape[0]
    if name == "exp":
        for i in range(n):
            out[i] = exp(x[i])
    elif name == "expm1":
        for i in range(n):
            out[i] = expm1(x[i])
    elif name == "log":
        for i in range(n):
            out[i] = log(x[i])
    elif name == "log1p":
        for i in range(n):
            out[i] = log1p(x[i])
    elif name == "tanh":
        for i in range(n):
            out[i] = tanh(x[i])
    elif name == "sigmoid":
        for i in range(n):
            out[i] = sigmoid(x[i])
    elif name == "erf":
        for i in range(n):
            out[i] = erf(x[i])
    elif name == "normal_cdf":
        for i in range(n):
            out[i] = normal_cdf(x[i])
    elif name == "normal_pdf":
        for i in range(n):
            out[i] = normal_pdf(x[i])
    elif name == "softplus":
        for i in range(n):
            out[i] = softplus(x[i])
    elif name == "sqrt":
        for i in range(n):
            out[i] = sqrt(x[i])
    elif name == "root":  # of vectors alone: what is left over stays as it is
        for i in range(n / VECTOR_LANES):
            (<vec *>&out[0])[i] = root((<const vec *>&x[0])[i])
    else:
        raise ValueError(f"no elementary function {name!r}")


def multiply_add(const real[::1] x, Py_ssize_t repeats):
    """Run the tallest register tile on x (1024,), in cache; returns the number of flops it made."""
    cdef real out[TILE_SIZE]
    cdef real total = <real>0
    cdef Py_ssize_t i, width = TILE_VECTORS * VECTOR_LANES
    cdef const real *B = <const real *>aligned(<void *>&x[0])
    cdef Py_ssize_t row = 1 + repeats % 3  # unknown to the compiler: of equal rows it made one
    with nogil:
        for i in range(repeats):  # another place each time, and any element of the result is used
            rows_times(&x[i % 16], row, B, 0, NULL, False, &out[0], width, TILE_ROWS, 960,
                       TILE_VECTORS, B, 0)
            total += out[i % (TILE_ROWS * width)]
    return 2.0 * repeats * 960 * TILE_ROWS * width if total == total else 0.0


def is_ascending(const Py_ssize_t[::1] starts, const int32_t[::1] index):
    """Whether the columns of each row of lists ascend, none twice."""
    cdef Py_ssize_t s, i
    cdef bint answer = True
    with nogil:
        for s in range(starts.shape[0] - 1):
            for i in range(starts[s] + 1, starts[s + 1]):
                answer = answer and index[i - 1] < index[i]
    return answer
