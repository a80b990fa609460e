"""What the machine's caches are taken for, and from which size on a way of working pays.

What belongs here: bytes and counts that were measured, each with the benchmark that set it. What
does not: sizes of tiles, which the registers set (tile.h, blocking.pxd), what follows from them.
"""

cdef enum:
    PAGE_BYTES = 1 << 12
    # W of more bytes is read by panels that are copied: 9 % of a step of case F, bench/compare.py
    SECOND_LEVEL_BYTES = 1 << 20
    # of it what stays there beside what else passes: columns of delta in an update of case F, a
    # batch that is not cut into slices (784-100-10, batch 200, float64: a sixth of a step)
    HALF_OF_IT_BYTES = 1 << 19
    SLICE_BYTES = 1 << 17       # rows that go through all layers at once, where a batch is cut
    CHUNK_REALS = 1 << 17       # the same of predictions, in reals: bench/test_kernels.py
    CHUNK_ROWS = 1008           # at most
    # X of fewer bytes stays in the caches, and rows are not fetched ahead: case A of compare.py
    KEPT_BYTES = 1 << 21
    # Multiply-adds of a prediction. More than FEW do not feel Python's checks, and products of many
    # rows with a large W may want scratch, which is not there. For fewer than BRIEF, a few us, the
    # GIL is kept, which saves 50 ns: one-row predictions of bench/compare.py
    FEW = 1 << 20
    BRIEF = 100_000
    FEW_BYTES = 1 << 15         # of the stack; some systems give a thread 128 KB
    # of networks in lanes: rows that go through all layers at once, in the first-level cache: a
    # seventh of a step of 8-8-8, batch 32; and the fewest that a stored gradient is added of
    PART_BYTES = 24 << 10
    PART_ROWS = 48
