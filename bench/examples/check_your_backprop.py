# %% [markdown]
# # Checking a backpropagation of your own
#
# What belongs here: a NumPy network that is not fastbp's, and how `fastbp.check` finds what is
# wrong with its gradient. What does not: how the checks work (docs/guide/checks.md, fastbp/check).

# %%
import numpy as np

from fastbp import check

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(8, 4)), np.eye(3)[rng.integers(0, 3, 8)]
W1, b1 = rng.normal(size=(4, 5)), rng.normal(size=5)
W2, b2 = rng.normal(size=(5, 3)), rng.normal(size=3)
parameters = [W1, b1, W2, b2]

# %% [markdown]
# Forward: tanh, then softmax with the quadratic cost, whose outputs are coupled.


# %%
def forward(parameters):
    W1, b1, W2, b2 = parameters
    a1 = np.tanh(X @ W1 + b1)
    z2 = a1 @ W2 + b2
    e = np.exp(z2 - z2.max(axis=1, keepdims=True).real)
    return a1, e / e.sum(axis=1, keepdims=True)


def loss(parameters):
    _, a2 = forward(parameters)
    return ((a2 - Y) ** 2).sum() / (2 * len(X))


# %% [markdown]
# Backward, as it is often written: delta = (a - y) a (1 - a), the sum over k dropped.


# %%
def backward(parameters, delta_of):
    _, _, W2, _ = parameters
    a1, a2 = forward(parameters)
    delta2 = delta_of(a2) / len(X)
    delta1 = (delta2 @ W2.T) * (1 - a1**2)
    return [X.T @ delta1, delta1.sum(axis=0), a1.T @ delta2, delta2.sum(axis=0)]


def diagonal_only(a):
    return (a - Y) * a * (1 - a)


wrong = check.gradient(loss, lambda p: backward(p, diagonal_only), parameters)
print(wrong)

# %% [markdown]
# Which equation is it? The output error of one sample, term by term: for softmax the terms k ≠ j
# are there, and a delta without them is wrong.

# %%
z2 = forward(parameters)[0] @ W2 + b2
error = check.output_error(
    z=z2[0],
    y=Y[0],
    activation="softmax",
    cost="quadratic",
    delta=diagonal_only(forward(parameters)[1])[0],
)
print(error)
error.plot().savefig("check_your_backprop.png")

# %% [markdown]
# With the sum over k in place:


# %%
def whole_sum(a):
    g = a - Y
    return a * (g - (g * a).sum(axis=1, keepdims=True))


right = check.gradient(loss, lambda p: backward(p, whole_sum), parameters)
print(right)
