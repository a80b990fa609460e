"""What the checks find in another library: scikit-learn's MLPRegressor with several outputs.

    python bench/sklearn_gradient.py [--outputs N]

Its loss divides by the number of outputs and its gradient does not (1.9.1). Asked through public
attributes only: the loss is what `partial_fit` records, the gradient what one step of SGD moves.
What belongs here: the few lines that bring a model of scikit-learn before `check.gradient`.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from sklearn.neural_network import MLPRegressor

from fastbp import check


def functions_of(X, Y, rate=1e-3):
    """Loss and gradient by coefs_ and intercepts_, and where they begin."""
    model = MLPRegressor(
        hidden_layer_sizes=(5,),
        activation="tanh",
        solver="sgd",
        alpha=0.0,
        momentum=0.0,
        batch_size=len(X),
        learning_rate_init=rate,
        random_state=0,
    )
    model.partial_fit(X, Y)

    def step(parameters):
        """One step from there: the loss before it, and the gradient that made it."""
        model.coefs_ = [W.copy() for W in parameters[:2]]
        model.intercepts_ = [b.copy() for b in parameters[2:]]
        model.partial_fit(X, Y)
        moved = [*model.coefs_, *model.intercepts_]
        slopes = [(old - new) / rate for old, new in zip(parameters, moved, strict=True)]
        return model.loss_curve_[-1], slopes

    start = [*model.coefs_, *model.intercepts_]
    return lambda p: step(p)[0], lambda p: step(p)[1], start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--outputs", type=int, default=3)
    rng = np.random.default_rng(0)
    n = parser.parse_args().outputs
    X, Y = rng.normal(size=(20, 4)), rng.normal(size=(20, n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f, grad, start = functions_of(X, Y if n > 1 else Y[:, 0])
        # the model keeps a velocity, which complex steps would spoil
        print(check.gradient(f, grad, start, method="differences"))


if __name__ == "__main__":
    main()
