# cython: language_level=3
"""A small consumer of `cimport fastbp`: forward and gradient without the GIL on its own memory."""

cimport fastbp
from libc.stdlib cimport free, malloc


def forward(network, const double[::1] parameters, const double[:, ::1] X, double[:, ::1] out):
    cdef const void *plan = fastbp.fastbp_plan(network)
    cdef Py_ssize_t n = X.shape[0]
    cdef void *scratch
    cdef int status
    with nogil:
        scratch = malloc(fastbp.fastbp_scratch_bytes(plan, n))
        status = fastbp.fastbp_forward_f64(plan, &parameters[0], &X[0, 0], n, &out[0, 0], scratch)
        free(scratch)
    return status


def forward_f32(network, const float[::1] parameters, const float[:, ::1] X, float[:, ::1] out):
    cdef const void *plan = fastbp.fastbp_plan(network)
    cdef Py_ssize_t n = X.shape[0]
    cdef void *scratch
    cdef int status
    with nogil:
        scratch = malloc(fastbp.fastbp_scratch_bytes(plan, n))
        status = fastbp.fastbp_forward_f32(plan, &parameters[0], &X[0, 0], n, &out[0, 0], scratch)
        free(scratch)
    return status


def descend(network, double[::1] parameters, const double[:, ::1] X, const double[:, ::1] Y,
            double rate, int steps, double[::1] gradient):
    """Gradient descent without the GIL and with one allocation; returns the last loss."""
    cdef const void *plan = fastbp.fastbp_plan(network)
    cdef Py_ssize_t n = X.shape[0], i, count = gradient.shape[0]
    cdef double loss = 0.0
    cdef int _step
    cdef void *scratch = malloc(fastbp.fastbp_scratch_bytes(plan, n))
    with nogil:
        for _step in range(steps):
            fastbp.fastbp_gradient_f64(plan, &parameters[0], &X[0, 0], &Y[0, 0], n, &loss,
                                       &gradient[0], scratch)
            for i in range(count):
                parameters[i] -= rate * gradient[i]
    free(scratch)
    return loss
