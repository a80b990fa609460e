"""A network on paper, by the formulas of the oracle: what every step should give.

What belongs here: values, errors and bounds on rounding that a check needs to know beside values of
a loss. What does not: the check itself.
"""
