# %% [markdown]
# # In place of scikit-learn's MLP
#
# What belongs here: one import line changed, the same fit. What does not: times beside each other
# (bench/estimators.py).

# %%
import time
import warnings

import matplotlib.pyplot as plt
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp.estimators import MLPClassifier  # was: from sklearn.neural_network import MLPClassifier

digits = fastbp.datasets.load_digits()
X, X_test, y, y_test = train_test_split(
    digits.X, digits.Y, test_size=0.25, stratify=digits.Y, random_state=0
)

# %% [markdown]
# The same arguments, in a pipeline as before. Both warn that 100 epochs are not the end.

# %%
warnings.simplefilter("ignore", ConvergenceWarning)
arguments = {"hidden_layer_sizes": (64,), "max_iter": 100, "tol": 0.0, "random_state": 0}
arguments["n_iter_no_change"] = 100  # all 100 epochs
scores, seconds = {}, {}
figure, ax = plt.subplots()
for kind in (sklearn.neural_network.MLPClassifier, MLPClassifier):
    library = kind.__module__.partition(".")[0]
    model = make_pipeline(StandardScaler(), kind(**arguments))
    began = time.perf_counter()
    model.fit(X, y)
    seconds[library] = time.perf_counter() - began
    scores[library] = model.score(X_test, y_test)
    print(f"{library:8} {seconds[library]:.2f} s, {scores[library]:.1%} of the test set")
    ax.plot(model[-1].loss_curve_, ":" if library == "fastbp" else "-", label=library)
ax.set(xlabel="epoch", ylabel="loss: two curves, one upon the other", yscale="log")
ax.legend()
figure.savefig("replace_scikit_learn.png")
