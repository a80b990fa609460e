# %% [markdown]
# # The gradient that vanishes
#
# Chapter 5 of M. Nielsen, *Neural Networks and Deep Learning* (2015): early layers learn more
# slowly, since their gradient is a product with a factor w sigma'(z) for each layer behind. What
# belongs here: that product held against the engine, and the speed of each layer during training.

# %%
import os

import numpy as np

import fastbp
from fastbp import check
from fastbp.callbacks import DeltaNorms

SHORT = bool(os.environ.get("FASTBP_SHORT"))  # a few seconds, as CI runs it

# %% [markdown]
# Four layers of one neuron: dC/db_1 = sigma'(z_1) w_2 sigma'(z_2) w_3 sigma'(z_3) w_4 sigma'(z_4)
# dC/da_4.

# %%
chain = fastbp.Network([1, 1, 1, 1, 1], output="sigmoid", loss="quadratic", dtype="float64", seed=1)
x, y = np.array([[0.6]]), np.array([[0.2]])
zs, activations = chain.feedforward(x)
slopes = [np.exp(-z) / (1 + np.exp(-z)) ** 2 for z in zs]
product = float(activations[-1][0, 0] - y[0, 0])
for slope, W in zip(reversed(slopes), reversed(chain.weights), strict=True):
    product *= float(slope[0, 0])
    if W is not chain.weights[0]:
        product *= float(W[0, 0])
engine = float(chain.deltas(x, y)[0][0, 0])
print(f"product {product:.12e}, engine {engine:.12e}")
print(check.recurrence(chain, x[0], y[0]))

# %% [markdown]
# Four hidden layers of 30 on digits, all samples a step: the norm of the mean of delta in each
# layer.

# %%
digits = fastbp.datasets.load_digits()
X, Y = digits.X[:1000], digits.Y[:1000]
net = fastbp.Network(
    [64, 30, 30, 30, 30, 10], output="sigmoid", loss="binary_cross_entropy", seed=0
)
speeds = DeltaNorms(X, Y)
speeds.record(net)
net.fit(
    X,
    Y,
    epochs=100 if SHORT else 500,
    batch_size=len(X),
    optimizer=fastbp.SGD(0.1),
    shuffle=False,
    callbacks=[speeds],
)
print("at the start, layer by layer:", speeds.norms[0].round(4))
speeds.plot().figure.savefig("vanishing_gradient.png")
