"""The four tables: what a kind of link, activation, cost or optimizer gives the loop.

What belongs here: the structs, of which each kind fills one row. What does not: rows. They stand
beside their formulas: links/*.pxd, functions/activation.pxd, functions/cost.pxd, update.pxd.
Passes, loop, norms, penalties, padding and persistence go over layers and their tensors and learn
no kind; one indirect call a layer and slice (a policy: a tile) is all that this costs.
"""
from libc.stdint cimport int32_t, int64_t

from fastbp.kernels.arithmetic.real cimport real, vec

cdef enum:
    MAX_TENSORS = 2

cdef struct Link
cdef struct Sigma
cdef struct Policy


cdef struct Tensor:
    # One parameter tensor of a layer: `rows` rows of n. In the public layout they begin at `at` and
    # lie n apart. In the trainer's padded copy, from `padded_at` on, a row has `row` reals, of
    # which `panel` lie together: panels of as many columns follow each other, each with all its
    # rows; of the last one rows are as short as what is left (panel = row: one, of whole rows).
    Py_ssize_t at, padded_at, rows, n, row, panel
    double rate                 # times the learning rate; 0: no step changes it or its slots
    double decay                # times penalties and weight decay: 1 of a weight, else 0, or told
    Py_ssize_t summed           # as `panel`, of the order of sums over all of it; 0: the same


cdef struct Layer:
    # z = link(a of the layer before), a = sigma(z)
    const Link *link
    const Sigma *sigma
    double p                    # sigma's parameter
    Py_ssize_t n_in, n_z, n_a   # widths
    Py_ssize_t z_row, a_row     # the same, padded
    # where the batch's matrices begin, in units of cap; hidden and elementwise: delta_at = z_at
    Py_ssize_t z_at, a_at, delta_at
    int n_tensors
    Tensor tensors[MAX_TENSORS]


cdef inline const real *tensor(const Layer *f, int i, const real *parameters,
                               bint padded) noexcept nogil:
    """Where tensor i of a layer begins in the store."""
    return parameters + (f.tensors[i].padded_at if padded else f.tensors[i].at)


cdef struct Ahead:
    # rows of X that the next batch will gather, fetched a few lines a tile: memory works while the
    # tiles do (a fifth of a step of case A in bench/compare.py, where X is larger than the caches)
    const char *X
    const Py_ssize_t *order     # the next row's place
    Py_ssize_t rows, row_bytes  # rows left
    Py_ssize_t at, lines        # bytes of the first that are done, lines a tile


cdef struct Step:
    # The numbers of one step, alike for every tensor but for its own rate and decay.
    const Policy *policy
    double learning_rate, weight_decay
    double l2, l1  # lambda/n of the penalties
    double momentum, beta1, beta2, epsilon, rho, lr_decay
    double clip_value  # no element of the gradient with its penalties is larger; or infinity
    double scale  # by which all of it is multiplied then: clipping by norm
    double bias1, bias2  # Adam: 1 - beta^t
    double epsilon_hat   # Adam: where above 0, epsilon is that beside sqrt(v), v not corrected
    double slow  # by which the learning rate is divided: 1, but for Adagrad
    bint shaped  # clipping or scaling changes the gradient before a policy sees it


cdef struct Own:
    # What of these numbers is one tensor's own.
    double learning_rate, weight_decay, l2, l1
    bint shaped  # clipping, scaling or its penalties change its gradient
    bint zero_stays  # where the gradient is 0, the step changes nothing


cdef struct Active:
    # The columns of a batch that are not 0 in all of its rows, ascending; rows without the others.
    const int32_t *columns
    Py_ssize_t n
    const real *a               # as far apart as whole rows
    Ahead *ahead                # what forward may fetch meanwhile


cdef struct Turned:
    # Scratch of a thread, by which the elements of lists are found by their column k: head[k] - 1,
    # next[that] - 1, ... until 0, samples ascending. `head` is 0 throughout where nobody uses it.
    int32_t *head
    int32_t *next
    int32_t *sample             # of each element
    int32_t *touched            # the columns that occur
    real *sums                  # one a column, 0 where nobody uses them


cdef struct Input:
    # What a link reads: rows of the activations before it, `row` reals apart; or rows as lists,
    # row s holding a[i] in column index[i] for starts[s] <= i < starts[s + 1], columns ascending.
    const real *a
    Py_ssize_t row
    const Active *active        # a link that `skips_zeros` reads this in the place of a; or NULL
    const Py_ssize_t *starts    # NULL: no lists
    const int32_t *index
    const Turned *turned


cdef inline Input dense_input(const real *a, Py_ssize_t row) noexcept nogil:
    cdef Input x
    x.a, x.row, x.active, x.starts, x.index, x.turned = a, row, NULL, NULL, NULL, NULL
    return x


# What a link is called with: `parameters` is the whole store, padded or in the public layout.

# z = link(a)   (m, n_z); `panel`: scratch of the thread                                  z  # OUT
ctypedef void (*Forward)(const Layer *f, const real *parameters, bint padded, const Input *x,
                         Py_ssize_t m, real *z, real *panel) noexcept nogil
# columns [first, last) of g = delta dz/da, or with `times` g = g * (delta dz/da)   (m, n_in); of
# lists all that is in them, in their order                                               g  # OUT
ctypedef void (*Back)(const Layer *f, const real *parameters, bint padded, const Input *x,
                      const real *delta, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last,
                      bint times, real *g, Py_ssize_t g_row, real *panel) noexcept nogil
# nabla of the thread's share of every tensor's rows, padded; added, or `anew`; that of a tensor
# of rate 0 is nobody's. Of a whole batch anew scratch and `ahead` are as in `Update`, else NULL
#                                                                                    nabla  # OUT
ctypedef void (*Gradient)(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                          int thread, int n_threads, bint anew, real *nabla, real *scratch,
                          Ahead *ahead) noexcept nogil
# the same gradient fused with the step of whichever policy: rows [first, last) of the first tensor
# and, with `rest`, all of the others                            padded parameters, slots  # OUT
ctypedef void (*Update)(const Layer *f, const Step *step, const Input *x, const real *delta,
                        Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, bint rest,
                        real *parameters, Py_ssize_t slot, real *scratch,
                        Ahead *ahead) noexcept nogil
# dz = dz/da da   (m, n_z), da in x, in the public layout                                dz  # OUT
ctypedef void (*Tangent)(const Layer *f, const real *parameters, const Input *x, Py_ssize_t m,
                         real *dz, real *panel) noexcept nogil
# a step of plain SGD of one sample, x one row: W <- W + minus_rate nabla  public parameters  # OUT
ctypedef void (*Learn)(const Layer *f, const Input *x, const real *delta, real minus_rate,
                       real *parameters) noexcept nogil
# Describe the layer's tensors from its widths, in the order of the public layout:
# rows, n, rate and decay of each; returns how many                                 tensors  # OUT
ctypedef int (*Tensors)(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil


# Where every number is a vector, of one network a lane (loop/lanes.pxi); all counts are of vectors.

cdef struct LaneTensor:
    # rows of n vectors, `row` apart, from `at` on in the store
    Py_ssize_t at, rows, n, row


cdef struct LaneLayer:
    Layer flat                  # the layer, as if one row held all that a batch has of z
    Py_ssize_t n_in, n_z, row   # of z, a and delta rows lie `row` apart
    LaneTensor tensors[MAX_TENSORS]
    vec *z
    vec *a
    vec *delta


# z = link(a)   (m, n_z)                                                                  z  # OUT
ctypedef void (*ForwardLanes)(const LaneLayer *f, const vec *parameters, const vec *a,
                              Py_ssize_t a_row, Py_ssize_t m, vec *z) noexcept nogil
# g = g * (delta dz/da)   (m, n_in)                                                       g  # OUT
ctypedef void (*BackLanes)(const LaneLayer *f, const vec *parameters, const vec *delta,
                           Py_ssize_t m, vec *g, Py_ssize_t g_row) noexcept nogil
# R rows from k on, V columns from j on, of tensor i's nabla: C = nabla, C = C + nabla where it
# `adds`, or with minus_rate C = C + minus_rate nabla                                     C  # OUT
ctypedef void (*NablaLanes)(const LaneLayer *f, int i, Py_ssize_t k, Py_ssize_t R, Py_ssize_t j,
                            Py_ssize_t V, const vec *a, Py_ssize_t a_row, const vec *delta,
                            Py_ssize_t m, const vec *minus_rate, bint adds, vec *C,
                            Py_ssize_t C_row) noexcept nogil

cdef struct Link:
    const char *name
    Forward forward
    Back back
    Gradient gradient
    Update update
    Tangent tangent
    Learn learn                 # NULL: of lists
    Tensors tensors
    bint skips_zeros            # forward and update know x.active
    bint reads_lists            # x has starts
    bint gives_lists            # and so has z, with the same columns: z and delta are values alone
    ForwardLanes forward_lanes  # NULL: not for networks in lanes
    BackLanes back_lanes
    NablaLanes nabla_lanes


# a = sigma(z)   (m, n_a)                                                              z, a  # OUT
# z may be written: by the padding it needs, and by sigma'(z) where slopes are asked of an
# elementwise kind. What a coupled kind leaves in z is what its products need.
ctypedef void (*Values)(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil
# y = J^T x or y = J x, row by row; z and a as `values` left them, x with rows x_row apart  y  # OUT
ctypedef void (*Product)(const Layer *f, const real *z, const real *a, const real *x,
                         Py_ssize_t x_row, Py_ssize_t m, real *y, Py_ssize_t y_row) noexcept nogil

cdef struct Sigma:
    const char *name
    bint elementwise            # each a_k depends on its own z_k alone
    Values values
    Values values_and_slopes    # a coupled kind leaves z: `values` again
    Product vjp                 # delta = J^T g
    Product jvp                 # da = J dz


# C_j and dC/dx_j of n outputs, of one sample or (separable) of many; term may be y    term, slope
#                                                                                           # OUT
ctypedef void (*Terms)(const real *x, const real *y, real p, Py_ssize_t n, real *term,
                       real *slope) noexcept nogil

cdef struct Cost:
    const char *name
    bint separable              # C_j and dC/da_j depend on a_j and y_j alone
    int outputs_per_target
    double off_target           # y of the classes that a sample is not of
    bint has_entropy            # sum y ln y is part of it
    Terms terms_and_slopes


cdef struct Numbers:
    # What a policy computes with: one tensor's of a step, the same in every lane, or those of a
    # network in each (loop/lane_steps.pxi).
    vec minus_rate, l2, l1, least, most, scale
    vec mu, beta1, beta2, rest1, rest2, rho, rest, epsilon, keep, root_bias2, adam_rate


# One step for R rows of V vectors; rows of W lie `row` vectors apart, slots `slot`
#                                                                                W, slots  # OUT
ctypedef void (*UpdateTile)(const Step *step, const Own *own, int R, int V, const vec *nabla,
                            vec *W, Py_ssize_t row, Py_ssize_t slot) noexcept nogil
# the same of numbers that may differ by lane; `shaped`: those of any                W, slots  # OUT
ctypedef void (*UpdateLanes)(const Numbers *numbers, bint shaped, int R, int V, const vec *nabla,
                             vec *W, Py_ssize_t row, Py_ssize_t slot) noexcept nogil
# Set what depends on the number t = 1, 2, ... of the step                             step  # OUT
ctypedef void (*Begin)(Step *step, int64_t t) noexcept nogil

cdef struct Policy:
    const char *name
    int n_slots
    bint in_registers           # W - rate nabla, which a tile makes without storing nabla
    bint zero_stays             # a gradient of 0 changes neither W nor slots
    UpdateTile update
    UpdateLanes update_lanes
    Begin begin                 # or NULL
