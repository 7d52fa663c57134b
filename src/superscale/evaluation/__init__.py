"""How good is it? Pure functions; range, border and colour are required arguments.

`benchmark` here is the function; its module stays importable as ``from superscale.evaluation.benchmark import Row``.
"""

from superscale.evaluation.benchmark import benchmark

__all__ = ["benchmark"]
