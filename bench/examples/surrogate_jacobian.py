# %% [markdown]
# # A surrogate with its Jacobian
#
# A function that is slow to evaluate is replaced by a network, whose derivatives are then exact
# and cost microseconds: for optimisation, sensitivities and propagation of uncertainty. Here the
# slow one is the position of a robot's hand by the angles of its two joints, so that the true
# Jacobian is known. What belongs here: one regression and what its derivatives are good for.

# %%
import matplotlib.pyplot as plt
import numpy as np

import fastbp

LENGTHS = 1.0, 0.7


def hand(angles):
    """Position (n, 2) of the hand by angles (n, 2)."""
    first, both = angles[:, 0], angles.sum(axis=1)
    a, b = LENGTHS
    x, y = a * np.cos(first) + b * np.cos(both), a * np.sin(first) + b * np.sin(both)
    return np.stack([x, y], axis=1)


def true_jacobian(angles):
    first, both = angles[:, 0], angles.sum(axis=1)
    a, b = LENGTHS
    by_both = np.stack([-b * np.sin(both), b * np.cos(both)], axis=1)
    by_first = np.stack([-a * np.sin(first), a * np.cos(first)], axis=1) + by_both
    return np.stack([by_first, by_both], axis=2)


# %%
rng = np.random.default_rng(0)
angles = rng.uniform(0.2, 1.8, (4000, 2))
net = fastbp.Network(
    [2, 48, 48, 2],
    activation="tanh",
    output="identity",
    loss="mse",
    init="glorot_normal",
    dtype="float64",
    seed=0,
)
for rate in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
    adam = fastbp.Adam(rate)
    net.fit(angles, hand(angles), epochs=200, batch_size=100, optimizer=adam, seed=0)

# %% [markdown]
# Values and derivatives where it was not trained.

# %%
new = rng.uniform(0.3, 1.7, (1000, 2))
error = np.abs(net.predict(new) - hand(new)).max()
jacobian_errors = np.abs(net.jacobian(new) - true_jacobian(new)).max(axis=(1, 2))
jacobian_error = jacobian_errors.max()
print(f"largest error: of the position {error:.1e}, of the Jacobian {jacobian_error:.1e}")
figure, ax = plt.subplots()
points = ax.scatter(*hand(new).T, c=np.log10(jacobian_errors), s=8)
figure.colorbar(points, label="log10 of the Jacobian's largest error")
ax.set(xlabel="x of the hand", ylabel="y of the hand", aspect="equal")
figure.savefig("surrogate_jacobian.png")

# %% [markdown]
# The Jacobian at work: angles that bring the hand to a point, by Newton's method on the
# surrogate.

# %%
target = np.array([[0.4, 1.3]])
guess = np.array([[0.8, 0.9]])
for _ in range(8):
    step = np.linalg.solve(net.jacobian(guess)[0], (target - net.predict(guess))[0])
    guess = guess + step
missed = float(np.abs(hand(guess) - target).max())
print(f"angles {guess[0].round(4)} put the hand {missed:.1e} from the target")
