# %% [markdown]
# # The neuron that learns slowly
#
# Chapter 3 of M. Nielsen, *Neural Networks and Deep Learning* (2015): one sigmoid neuron, input
# 1, target 0. Badly wrong, it learns slowly with the quadratic cost, whose delta holds the factor
# sigma'(z), and fast with the cross-entropy, where that factor cancels. What belongs here: that
# neuron.

# %%
import matplotlib.pyplot as plt

import fastbp


def train(weight, bias, loss="quadratic", rate=0.15, updates=300):
    """Output before the first and after the last update, and the losses."""
    neuron = fastbp.Network([1, 1], output="sigmoid", loss=loss, dtype="float64")
    neuron.parameters = [weight, bias]
    before = float(neuron.predict([[1.0]])[0, 0])
    history = neuron.fit(
        [[1.0]], [0.0], epochs=updates, batch_size=1, optimizer=fastbp.SGD(rate), shuffle=False
    )
    return before, float(neuron.predict([[1.0]])[0, 0]), history["loss"]


# %% [markdown]
# The book's two starts: the outputs go .8176 → .0940 and .9820 → .2028.

# %%
outputs = {start: train(*start)[:2] for start in ((0.6, 0.9), (2.0, 2.0))}
for (weight, bias), (before, after) in outputs.items():
    print(f"w = {weight}, b = {bias}: {before:.4f} -> {after:.4f}")

# %% [markdown]
# The second start with the cross-entropy: the steepest part of its curve is the beginning.

# %%
_, _, quadratic = train(2.0, 2.0)
_, _, cross_entropy = train(2.0, 2.0, "binary_cross_entropy", rate=0.005)
steepest = {
    name: int((losses[:-1] - losses[1:]).argmax())
    for name, losses in (("quadratic", quadratic), ("cross-entropy", cross_entropy))
}
print("update of the largest gain:", steepest)
figure, ax = plt.subplots()
ax.plot(quadratic / quadratic[0], label="quadratic, rate 0.15")
ax.plot(cross_entropy / cross_entropy[0], label="cross-entropy, rate 0.005")
ax.set(xlabel="update", ylabel="cost, of the first")
ax.legend()
figure.savefig("learning_slowdown.png")
