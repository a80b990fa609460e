"""Why is there a sum over k? The derivation of backpropagation, walked through on real numbers.

What belongs here: a reader's way through results of `fastbp.check`, as text and as a page. What
does not: finding the numbers and judging them (fastbp/check), options and files (fastbp/cli).
"""

from fastbp.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
