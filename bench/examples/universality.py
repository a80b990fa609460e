# %% [markdown]
# # A network that computes any function
#
# Chapter 4 of M. Nielsen, *Neural Networks and Deep Learning* (2015): a pair of hidden neurons
# with large weights makes a bump, and bumps side by side make any function. What belongs here:
# step, bump and the book's target, with weights set by hand and nothing trained.

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastbp

STEEP = 1000.0
x = np.linspace(0, 1, 1001)[:, None]


def steps(places):
    """A network whose hidden neurons step from 0 to 1 at the places: sigma(w x + b), s = -b/w."""
    net = fastbp.Network(
        [1, len(places), 1], output="identity", loss="quadratic", init="zeros", dtype="float64"
    )
    net.weights[0][...] = STEEP
    net.biases[0][...] = -STEEP * np.asarray(places)
    return net


# %% [markdown]
# A step at 0.4; a bump of height 0.8 from 0.4 to 0.6, which is a step up and a step down.

# %%
net = steps([0.4])
net.weights[1][...] = 1.0
step = net.predict(x)[:, 0]
net = steps([0.4, 0.6])
net.weights[1][:, 0] = 0.8, -0.8
bump = net.predict(x)[:, 0]
print("step:", step[[300, 500]].round(6), "bump:", bump[[300, 500, 700]].round(6))


# %% [markdown]
# The book's target, and what the weighted input of its output neuron must be: sigma^-1 of it.
# Five bumps, each as high as the mean over its fifth of the interval, come nearer than the 0.40
# that the book asks for.


# %%
def target(x):
    return 0.2 + 0.4 * x**2 + 0.3 * x * np.sin(15 * x) + 0.05 * np.cos(50 * x)


def fitted(n_bumps):
    """Bumps side by side, and the average deviation of their sum from sigma^-1 of the target."""
    edges = np.linspace(0, 1, n_bumps + 1)
    net = steps(np.stack([edges[:-1], edges[1:]], axis=1).ravel())
    wanted = np.log(target(x) / (1 - target(x)))[:, 0]
    fifth = np.minimum((x[:, 0] * n_bumps).astype(int), n_bumps - 1)
    heights = np.array([wanted[fifth == k].mean() for k in range(n_bumps)])
    net.weights[1][:, 0] = np.stack([heights, -heights], axis=1).ravel()
    return net, float(np.abs(net.predict(x)[:, 0] - wanted).mean())


deviations = {n_bumps: fitted(n_bumps)[1] for n_bumps in (5, 10, 50)}
print("average deviation by bumps:", {n: round(d, 3) for n, d in deviations.items()})
figure, ax = plt.subplots()
ax.plot(x, target(x), "k", label="target")
for n_bumps in (5, 50):
    z = fitted(n_bumps)[0].predict(x)
    ax.plot(x, 1 / (1 + np.exp(-z)), label=f"{n_bumps} bumps")
ax.legend()
figure.savefig("universality.png")
