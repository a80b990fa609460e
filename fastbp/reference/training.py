"""Training by mini-batches taken in given orders, with clipping.

What belongs here: the order of work of a run. What does not: a gradient (network.py), a step
(optimizers.py).
"""

import numpy as np

from fastbp.reference.network import weights_of_samples
from fastbp.reference.numbers import norm


def clipped(gradient, clip_value=np.inf, clip_norm=np.inf):
    """The gradient with no element above clip_value, then scaled to a norm of clip_norm at most.

    Examples
    --------
    >>> clipped(np.array([3.0, -4.0]), clip_value=3.5).tolist()
    [3.0, -3.5]
    >>> clipped(np.array([3.0, -4.0]), clip_norm=0.5).round(4).tolist()
    [0.3, -0.4]
    """
    gradient = np.clip(gradient, -clip_value, clip_value)
    return gradient * min(1.0, clip_norm / (norm(gradient) + 1e-6))


def train(
    network,
    X,
    Y,
    orders,
    batch_size,
    optimizer,
    sample_weight=None,
    l2=0.0,
    l1=0.0,
    clip_value=np.inf,
    clip_norm=np.inf,
    masks=None,
    rates=None,
    decays=None,
    drop_last=False,
):
    """Train by mini-batches taken in given orders; changes network.parameters.

    Parameters
    ----------
    network : Network
    X : array_like, (n, n_0)
    Y : array_like, (n, n_L), or (n, n_L / 2) for gaussian_nll
    orders : sequence of int arrays, (n,)
        One permutation of the rows an epoch.
    batch_size : int
        Rows a step; the last batch of an epoch may be shorter, and is left out if `drop_last`
        unless it is the only one.
    optimizer : object with step(parameters, gradient, is_weight)
    sample_weight : array_like, (n,), optional
        A batch gradient is sum w_s grad_s / sum w_s, or 0 if the batch's weights sum to 0
        (the optimizer steps all the same).
    l2, l1 : float
        Add (l2/n) W + (l1/n) sign(W) to each batch gradient, n the number of rows of X.
    clip_value, clip_norm : float
        As `clipped` has it, after the penalties.
    masks : callable (step, rows) -> masks as in `Network.gradient`, optional
        Dropout of step 0, 1, ... of that many rows.
    rates : array_like, (n_parameters,), optional
        What each parameter's learning rate is multiplied by. One of rate 0 is not trained, and not
        part of the norm that clip_norm bounds.
    decays : array_like, (n_parameters,), optional
        What its penalties and weight decay are multiplied by: 1 for weights, else 0, when None.

    Returns
    -------
    list of float
        For each epoch sum_s w_s C_s / sum_s w_s over its batches, C_s taken before the update of
        its batch, without regularisation.
    """
    X, Y = network._data(X, Y)
    n = len(X)
    w = weights_of_samples(sample_weight, n)
    rates = np.ones(network.n_parameters) if rates is None else np.asarray(rates, np.float64)
    decays = network.is_weight if decays is None else np.asarray(decays, np.float64)
    losses, step = [], 0
    for order in orders:
        order = np.asarray(order)
        if not np.array_equal(np.sort(order), np.arange(n)):
            raise ValueError(f"an order is not a permutation of {n} rows")
        if drop_last and n > batch_size:
            order = order[: n // batch_size * batch_size]
        total = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            of_batch = network._masks_of_samples(masks and masks(step, len(batch)), len(batch))
            step += 1
            for s, mask in zip(batch, of_batch, strict=True):
                total += w[s] * network._cost_sample(X[s], Y[s], mask)
            gradient = network._data_gradient(X[batch], Y[batch], w[batch], of_batch)
            old = network.parameters
            gradient = gradient + decays * (l2 / n * old + l1 / n * np.sign(old))
            gradient = clipped(np.where(rates > 0, gradient, 0.0), clip_value, clip_norm)
            new = optimizer.step(old, gradient, decays)
            # every optimizer's step is its learning rate times what does not depend on it
            network.parameters = np.where(rates == 1, new, old + rates * (new - old))
        weight = w[order].sum()
        losses.append(float(total / weight) if weight != 0 else 0.0)
    return losses
