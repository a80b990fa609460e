"""Derivatives from values of a function alone: differences, complex steps, many digits.

What belongs here: how anybody's function is asked, what its values leave possible, and in what
time. What does not: networks, verdicts.
"""
