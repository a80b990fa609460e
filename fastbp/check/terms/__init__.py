"""One sample, term by term: the output error (BP1), the recurrence (BP2), which sums are there.

What belongs here: results that show every term of an equation, and where two forms of it part. What
does not: weights and biases of batches (gradients/).
"""
