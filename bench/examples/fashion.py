# %% [markdown]
# # Fashion-MNIST
#
#     python bench/examples/fashion.py
#
# 70,000 images of clothes in ten classes (Xiao, Rasul & Vollgraf 2017), from Debian's package
# `dataset-fashion-mnist` or any folder with its four IDX files, named by FASHION_MNIST. What
# belongs here: one network of today, relu and AdamW. The loss curve is written to fashion.png.

# %%
import os
import sys
from pathlib import Path

import fastbp

SHORT = bool(os.environ.get("FASTBP_SHORT"))  # a few seconds, as CI runs it
folder = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
if not folder.is_dir():
    sys.exit(
        f"{folder}: no such folder. Fashion-MNIST comes with `apt install dataset-fashion-mnist`; "
        "or set FASHION_MNIST to a folder with its four IDX files"
    )
data = fastbp.datasets.read(folder)

# %%
net = fastbp.Network([784, 256, 128, 10], activation="relu", init="he_normal", seed=0)
n = 6000 if SHORT else len(data.X)
history = None
for epochs, rate in ((2, 1e-3),) if SHORT else ((8, 1e-3), (3, 3e-4), (1, 1e-4)):
    history = net.fit(
        data.X[:n],
        data.Y[:n],
        epochs=epochs,
        batch_size=64,
        optimizer=fastbp.AdamW(rate, weight_decay=0.02),
        validation=(data.X_test, data.Y_test),
        dropout=0.1,
        threads=1,
        seed=0,
        resume=history,
    )

# %%
accuracy = float(history["validation_accuracy"][-1])
print(f"{accuracy:.2%} of the test set after {history.seconds:.1f} s of training on one core")
history.plot().figure.savefig("fashion.png", dpi=110)
