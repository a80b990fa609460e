# Predictions of few rows, where checks in Python would take longer than the forward pass.
#
# What belongs here: one door that checks, computes and writes. What does not: refusals (inputs.py).

cdef bint forward_few(const Plan *plan, const real *parameters, const real *X, Py_ssize_t n,
                      real *out) noexcept nogil:
    # out = a^L   (n, n_L); False, and nothing written, where X, a parameter, a z or a^L is NaN or
    # infinite: a product with such a number is not finite and stays so in its sum, even times 0,
    # so one look at every z sees them all                                                out  # OUT
    cdef char memory[FEW_BYTES + 64]
    cdef const Layer *f = plan.layers
    cdef const real *a
    cdef Rows r
    cdef Input x
    cdef Py_ssize_t s
    cdef int l
    memset(&r, 0, sizeof(Rows))
    r.work = aligned(memory)
    r.cap = r.m = n
    x = dense_input(X, plan.n_0)
    forward(plan, parameters, False, &x, &r, KEEP_Z)
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        for s in range(n):
            if not all_finite(rows_of(&r, f.z_at, f.z_row) + s * f.z_row, f.n_z):
                return False
    a = rows_of(&r, f.a_at, f.a_row)
    for s in range(n):
        if not all_finite(a + s * f.a_row, f.n_a):
            return False
    copy_rows(a, f.a_row, out, f.n_a, n, f.n_a)
    return True


cdef bint take(object array, type kind, int n_dims, Py_ssize_t n, Py_buffer *view):
    """Take hold of an array (n,) or (m, n) that needs no conversion; else False."""
    if type(array) is not kind:
        return False
    try:
        PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_STRIDES)
    except (BufferError, ValueError):  # a dtype that buffers do not know
        return False
    if (view.ndim == n_dims and view.shape[n_dims - 1] == n and view.shape[0] > 0
            and view.format[0] == (c"f" if SINGLE else c"d") and view.format[1] == 0
            and <uintptr_t>view.buf % sizeof(real) == 0 and PyBuffer_IsContiguous(view, c"C")):
        return True
    PyBuffer_Release(view)
    return False


cdef class Predictor:
    """Predictions of few rows of plain arrays: one call checks, computes and writes.

    Made because Python's checks of one row take several times its forward pass. What is not plain
    is left to the checks that say what is wrong or convert it (inputs.py). The work area is on the
    stack: nothing is allocated or shared.
    """
    cdef Block layers
    cdef Plan plan              # the network's without room for deltas, so that more rows fit
    cdef type kind
    cdef object parameters      # whose memory `values` is
    cdef const char *values
    cdef object empty, dtype    # numpy.empty and what it is to make
    cdef Py_ssize_t size, max_rows

    def __init__(self, CompiledNetwork net, parameters, empty, dtype):
        cdef Plan *p = &self.plan
        cdef Py_buffer view
        cdef Layer *f
        cdef int l
        self.parameters, self.empty, self.dtype = parameters, empty, dtype
        self.kind = type(parameters)
        PyObject_GetBuffer(parameters, &view, PyBUF_SIMPLE)
        self.values = <const char *>view.buf
        PyBuffer_Release(&view)
        self.layers = Block(sizeof(Layer) * <double>net.plan.n_layers)
        memcpy(self.layers.data, net.plan.layers, sizeof(Layer) * net.plan.n_layers)
        p[0] = net.plan
        p.layers = <Layer *>self.layers.data
        p.width = 0
        for l in range(p.n_layers):
            f = &p.layers[l]
            f.z_at = p.width
            f.a_at = f.z_at + f.z_row
            p.width = f.a_at + f.a_row
        self.size = sizeof(real)
        self.max_rows = min(FEW_BYTES / (p.width * self.size), FEW / p.n_parameters)

    def predict(self, X, out):
        """a^L (n, n_L), in `out` or where that is None a new array; None where X or out is not
        plain or a number not finite, and nothing is written then."""
        cdef const Plan *p = &self.plan
        cdef Py_ssize_t n_a = p.layers[p.n_layers - 1].n_a
        cdef Py_buffer x, y
        cdef bint done = False
        if not take(X, self.kind, 2, p.n_0, &x):
            return None
        try:
            if x.shape[0] > self.max_rows:
                return None
            if out is None:
                out = self.empty((x.shape[0], n_a), self.dtype)
            if not take(out, self.kind, 2, n_a, &y):
                return None
            # out may lie over X, which is read before out is written
            if not (y.readonly or y.shape[0] != x.shape[0] or self.holds(&y)):
                if x.shape[0] * p.n_parameters < BRIEF:
                    done = self.forward(&x, x.shape[0], &y)
                else:
                    with nogil:
                        done = self.forward(&x, x.shape[0], &y)
            PyBuffer_Release(&y)
        finally:
            PyBuffer_Release(&x)
        return out if done else None

    def predict_one(self, x):
        """a^L (n_L,) of one row x (n_0,); None where x is not plain or a number not finite."""
        cdef const Plan *p = &self.plan
        cdef Py_buffer of_x, of_out
        cdef Py_ssize_t n_a = p.layers[p.n_layers - 1].n_a
        cdef bint done = False
        if self.max_rows < 1 or not take(x, self.kind, 1, p.n_0, &of_x):
            return None
        out = self.empty(n_a, self.dtype)
        if take(out, self.kind, 1, n_a, &of_out):
            if p.n_parameters < BRIEF:
                done = self.forward(&of_x, 1, &of_out)
            else:
                with nogil:
                    done = self.forward(&of_x, 1, &of_out)
            PyBuffer_Release(&of_out)
        PyBuffer_Release(&of_x)
        return out if done else None

    cdef bint holds(self, const Py_buffer *y) noexcept nogil:
        """Whether y shares memory with the parameters."""
        cdef const char *first = <const char *>y.buf
        return (first < self.values + self.plan.n_parameters * self.size
                and self.values < first + y.len)

    cdef bint forward(self, const Py_buffer *x, Py_ssize_t n, const Py_buffer *y) noexcept nogil:
        return forward_few(&self.plan, <const real *>self.values, <const real *>x.buf, n,
                           <real *>y.buf)
