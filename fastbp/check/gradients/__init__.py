"""Whole gradients: a network's (BP1 to BP4), and those of anybody's function.

What belongs here: the two modes of checking, what is claimed, and what a wrong gradient says. What
does not: single terms (terms/), how a slope is taken (numeric/).
"""
