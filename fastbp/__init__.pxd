"""`cimport fastbp`: forward and gradient on raw pointers, without the GIL, without allocation.

What belongs here: the C-level interface, and nothing that a consumer would have to compile. The
functions are those of the CPU level in use (capsules, handed on by fastbp/__init__.py).

Rules: `plan` is valid as long as its network lives. `parameters` has the layout of
`Network.parameters` and must be followed by 64 readable bytes (those of a network are). X (n, n_0),
Y (n, n_L), out (n, n_L) and gradient (n_parameters,) are C-contiguous. `scratch` holds
`fastbp_scratch_bytes(plan, n)` bytes, any alignment, any contents, one a thread. Functions that
return int give 0, or -1 where the plan has another dtype or n < 1; values are not checked.
"""

# The network's description for the functions below; raises where `network` is not a fastbp.Network.
cdef const void *fastbp_plan(object network) except NULL

cdef size_t fastbp_scratch_bytes(const void *plan, Py_ssize_t n) noexcept nogil

# out = a^L
cdef int fastbp_forward_f32(const void *plan, const float *parameters, const float *X,
                            Py_ssize_t n, float *out, void *scratch) noexcept nogil
cdef int fastbp_forward_f64(const void *plan, const double *parameters, const double *X,
                            Py_ssize_t n, double *out, void *scratch) noexcept nogil

# loss = mean C_x and its gradient
cdef int fastbp_gradient_f32(const void *plan, const float *parameters, const float *X,
                             const float *Y, Py_ssize_t n, double *loss, float *gradient,
                             void *scratch) noexcept nogil
cdef int fastbp_gradient_f64(const void *plan, const double *parameters, const double *X,
                             const double *Y, Py_ssize_t n, double *loss, double *gradient,
                             void *scratch) noexcept nogil
