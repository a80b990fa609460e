"""What a refusal tells to do instead: the name that is meant, the argument, the command to install.

What belongs here: other libraries' names for what has another here, and the nearest by spelling.
What does not: names that are accepted (functions.py, optimizers.py, ...). Imported when something
is refused.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

# How PyTorch, Keras, scikit-learn, JAX and textbooks call what is meant by a name here; of several
# names the first that is known where it is asked for. () where nothing here does the same, and a
# name that only looks alike would mislead.
_MEANT: dict[str | tuple[str, ...], str] = {
    # activations
    "identity": "linear none passthrough purelin",
    "sigmoid": "logistic expit logsig",
    "tanh": "tansig hyperbolictangent",
    "relu": "rectifier rectified rectifiedlinear ramp",
    "leaky_relu": "lrelu prelu",
    "elu": "celu exponentiallinear exponentiallinearunit",
    "silu": "swish swish1 sigmoidlinearunit",
    "gelu_tanh": "gelunew gelufast geluapprox geluapproximate gelupytorchtanh",
    "softplus": "smoothrelu softrelu",
    "exp": "exponential",
    "softmax": "softargmax",
    "layer_norm": "layernormalization standardize",
    "glu": "gatedlinearunit",
    # losses
    ("binary_cross_entropy", "sigmoid"): (
        "bce bcewithlogits binarycrossentropywithlogits sigmoidbinarycrossentropy "
        "sigmoidcrossentropy sigmoidcrossentropywithlogits binarylog binarylogistic "
        "multilabelsoftmargin softmargin log"
    ),
    "cross_entropy": (
        "ce categoricalcrossentropy sparsecategoricalcrossentropy softmaxcrossentropy "
        "softmaxcrossentropywithlogits softmaxcrossentropywithintegerlabels nll "
        "negativeloglikelihood loglikelihood multinomial logloss logarithmic deviance"
    ),
    ("mse", "quadratic"): (
        "meansquarederror meansquares negmeansquarederror squarederror squared leastsquares ls sse"
    ),
    ("rmse", "mse"): "rootmeansquarederror negrootmeansquarederror rms",
    "quadratic": "l2 halfsquarederror",
    "mae": "meanabsoluteerror negmeanabsoluteerror absoluteerror absolute l1 lad",
    "huber": "smoothl1",
    "log_cosh": "logarithmofcosh",
    "kl": "kld kldiv kldivergence kullbackleibler kullbackleiblerdivergence relativeentropy",
    "poisson": "poissonnll halfpoisson poissondeviance",
    "pinball": "quantile meanpinball",
    "gaussian_nll": "normalnll gaussiannegativeloglikelihood heteroscedastic",
    # initial weights
    "glorot_uniform": "xavier xavieruniform glorot uniform randomuniform",
    "glorot_normal": "xaviernormal",
    "he_uniform": "kaiming kaiminguniform",
    "he_normal": "kaimingnormal",
    "scaled": "lecun lecunnormal lecununiform variancescaling random",
    "large": "normal randomnormal standardnormal",
    "zeros": "zero constant",
    # metrics
    "accuracy": (
        "acc accuracyscore categoricalaccuracy sparsecategoricalaccuracy binaryaccuracy score"
    ),
    "balanced_accuracy": "balancedaccuracyscore bacc",
    "r2": "r2score rsquared r^2 coefficientofdetermination explainedvariance",
    # optimizers
    "sgd": "gd gradientdescent vanilla",
    "SGD(momentum=0.9)": "momentum sgdm sgdmomentum heavyball",
    "SGD(momentum=0.9, nesterov=True)": "nesterov nag nesterovmomentum",
    "adamw": "adamweightdecay",
    "lbfgs": "lbfgsb bfgs",
    # what there is none of
    (): (
        "relu6 hardsigmoid hardswish hardsilu logsigmoid softmin tanhshrink softshrink hardshrink "
        "threshold sparsemax squareplus rrelu swiglu geglu reglu heaviside step batchnorm "
        "focal cosine cosinesimilarity mape msle meansquaredlogarithmicerror ctc triplet "
        "dice categoricalhinge multimargin hingeembedding "
        "orthogonal ones truncatednormal f1 f1score precision recall auc rocauc mcc "
        "adamax nadam radam ftrl lamb lars rprop asgd adafactor adabelief yogi novograd"
    ),
}
_ALIASES = {
    alias: (names,) if isinstance(names, str) else names
    for names, aliases in _MEANT.items()
    for alias in aliases.split()
}

# What is meant by an argument that a callable has not: by the callable, and for all others (the
# optimizers, ...) the first that it has, or that names another place.
_ARGUMENTS: dict[str, dict[str, str]] = {
    "fit": {
        "epochs": (
            "epoch nepoch nepochs numepochs nbepoch maxepochs numtrainepochs maxiter niter "
            "iterations niterations numiterations"
        ),
        "batch_size": "batch batchsize bs minibatch minibatchsize",
        "optimizer": "optim opt solver algorithm",
        "optimizer=fastbp.Adam(learning_rate)": (
            "lr learningrate learningrateinit eta eta0 stepsize rate"
        ),
        "optimizer=fastbp.SGD(rate, momentum=...)": "momentum nesterov nesterovsmomentum",
        "optimizer=fastbp.Adam(beta1=..., beta2=...)": "betas beta1 beta2",
        "optimizer=fastbp.AdamW(weight_decay=...), or l2": "weightdecay decay",
        "validation": (
            "validationdata validationsplit validationset validationfraction valdata valset val "
            "valsplit evalset evaldata testdata xval yval xvalid yvalid xtest ytest"
        ),
        "seed": "randomstate randomseed rng key",
        "sample_weight": "sampleweights weights weight",
        "class_weight": "classweights",
        "callbacks": "callback",
        "progress": "verbose verbosity progressbar bar",
        "threads": "njobs nthreads numthreads numworkers workers",
        "schedule": "scheduler lrscheduler learningrateschedule lrschedule",
        "rates": "lrmultipliers learningrates paramgroups freeze frozen",
        "decays": "weightdecays",
        "early_stopping=fastbp.EarlyStopping(patience)": (
            "patience earlystop earlystoppingpatience niternochange tol mindelta"
        ),
        "clip_norm": "gradclip maxnorm maxgradnorm gradientclipval gradientclipping globalclipnorm",
        "l2": "alpha regularization regularizer penalty reg lambda lmbda",
        "time_limit": "timeout maxtime maxseconds",
        "resume": "warmstart initialepoch",
        "label_smoothing": "smoothing",
        "dropout": "dropoutrate",
        "ema": "useema emamomentum",
        "metrics": "metric scoring",
        "checkpoint": "checkpointpath modelcheckpoint",
        "X": "inputs data features",
        "Y": "target targets labels",
        "loss of fastbp.Network": "lossfunction lossfn criterion cost objective",
        "activation of fastbp.Network": "activation activations",
        "init of fastbp.Network": "init initializer kernelinitializer",
        "dtype of fastbp.Network": "dtype",
    },
    "Network": {
        "sizes": "layers layersizes hiddenlayersizes hidden nhidden units",
        "activation": "activations nonlinearity hiddenactivation act",
        "output": "outputactivation outactivation finalactivation lastactivation",
        "loss": "lossfunction lossfn criterion cost objective",
        "init": "initializer initialization kernelinitializer weightinit weightsinit",
        "seed": "randomstate randomseed rng key",
        "optimizer of fit": "optimizer optim opt solver",
        "optimizer of fit, as in fastbp.Adam(learning_rate)": (
            "lr learningrate learningrateinit eta"
        ),
        "epochs of fit": "epoch epochs nepochs numepochs maxiter",
        "batch_size of fit": "batchsize",
        "dropout of fit": "dropout dropoutrate",
        "l2 of fit": "l2 alpha weightdecay",
    },
    "MLPClassifier": {
        "hidden_layer_sizes": "sizes layers layersizes hidden nhidden units",
        "solver": "optimizer optim opt algorithm",
        "learning_rate_init": "lr eta eta0 stepsize rate",
        "learning_rate": "schedule scheduler lrscheduler",
        "max_iter": "epochs epoch nepochs numepochs niter",
        "random_state": "seed rng randomseed",
        "alpha": "l2 weightdecay regularization penalty",
        "n_iter_no_change": "patience",
        "validation_fraction": "validation validationsplit",
        "n_threads": "threads njobs numthreads",
        "loss": "criterion lossfn lossfunction",
        "X_val and y_val of fit": "validationdata evalset",
        "sample_weight of fit": "sampleweight sampleweights",
    },
    "BaseTabular": {
        "encoder=fastbp.tabular.Encoder(categorical=...)": (
            "categorical categoricalfeatures categoricalcolumns catfeatures catcols"
        ),
        "encoder=fastbp.tabular.Encoder(numeric=...)": (
            "numeric numerical numericfeatures numericalfeatures numericcolumns"
        ),
        "random_state": "seed rng randomseed",
        "n_threads": "threads njobs numthreads",
        "preset": "presets quality",
        "time_limit": "timeout maxtime maxseconds",
    },
    "EarlyStopping": {
        "patience": "niternochange",
        "min_delta": "tol",
        "monitor": "metric",
    },
    "Cosine": {
        "epochs": "tmax decaysteps totalsteps nepochs",
        "warmup": "warmupepochs warmupsteps",
    },
    "": {
        "learning_rate": "lr learningrateinit eta eta0 stepsize rate",
        "beta1": "b1",
        "beta1=..., beta2=...": "betas",
        "beta2": "b2",
        "rho": "alpha decay decayrate beta",
        "alpha": "rho decay decayrate beta discountingfactor",
        "epsilon": "eps",
        "momentum": "mu beta",
        "nesterov": "nesterovsmomentum",
        "weight_decay": "wd decay",
        "lr_decay": "decay learningratedecay",
        "initial_accumulator_value": "initialaccumulator",
        "max_iter": "maxiter niter iterations maxiterations epochs",
        "max_fun": "maxfun maxeval maxfev",
        "tolerance": "tol gtol tolerancegrad ftol tolerancechange",
        "patience": "niternochange",
        "min_delta": "tol",
        "fastbp.AdamW(weight_decay=...), or l2 of fit": "weightdecay wd decay l2",
        "fastbp.SGD(rate, momentum=...)": "momentum nesterov",
        "fastbp.AMSGrad": "amsgrad",
        "clip_norm of fit": "clipnorm globalclipnorm maxnorm",
        "clip_value of fit": "clipvalue",
    },
}
_ARGUMENTS["MLPRegressor"] = _ARGUMENTS["MLPClassifier"]


def _squeezed(name: str) -> str:
    """Without the module, case, blanks and what joins words, as a name is compared."""
    name = re.sub(r"^(?:[a-z_]\w*\.)+", "", name.strip().lower())
    return re.sub(r"[\s_\-]", "", name)


def nearest(name: str, known: Iterable[str]) -> str:
    """What is most likely meant by a name, as a sentence to end a message with, or nothing.

    >>> nearest("swish", ["mish", "silu"])
    " Did you mean 'silu'?"
    """
    import difflib

    text, by_text = _squeezed(name), {_squeezed(entry): entry for entry in known}
    for form in (text, text.removesuffix("loss"), text.removesuffix("optimizer")):
        if form in by_text:
            return f" Did you mean {by_text[form]!r}?"
        if form in _ALIASES:
            for meant in _ALIASES[form]:
                if meant in by_text.values():
                    return f" Did you mean {meant!r}?"
                if "(" in meant and _squeezed(meant.partition("(")[0]) in by_text:
                    return f" Did you mean {meant}?"
            if not _ALIASES[form]:
                return ""
    near = [entry for entry in by_text if len(text) > 1 and entry.startswith(text)]
    near = near or difflib.get_close_matches(text, by_text, n=1, cutoff=0.6)
    return f" Did you mean {by_text[near[0]]!r}?" if near else ""


def argument(of: str, name: str, known: Iterable[str]) -> str:
    """The same of an argument of a callable.

    >>> argument("fit", "epoch", ["X", "Y", "epochs"])
    " Did you mean 'epochs'?"
    """
    import difflib

    text, by_text = _squeezed(name), {_squeezed(entry): entry for entry in known}
    if text in by_text:
        return f" Did you mean {by_text[text]!r}?"
    for meant, aliases in _ARGUMENTS.get(of, _ARGUMENTS[""]).items():
        if text in aliases.split():
            if meant in by_text.values():
                return f" Did you mean {meant!r}?"
            if meant.partition("=")[0] in by_text.values() or "." in meant or " of " in meant:
                return f" Did you mean {meant}?"
    near = difflib.get_close_matches(text, by_text, n=1, cutoff=0.6)
    return f" Did you mean {by_text[near[0]]!r}?" if near else ""


def missing(what: str, package: str, extra: str) -> ImportError:
    """What is told where an optional package is not there: how this fastbp was installed, again.

    what: "plots need", "LBFGS needs", ...
    """
    import json
    import shlex
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    source, options = "fastbp", ""
    with contextlib.suppress(metadata.PackageNotFoundError, ValueError, AttributeError):
        told = json.loads(metadata.distribution("fastbp").read_text("direct_url.json") or "{}")
        url = urlsplit(told.get("url", ""))
        source = unquote(url.path) if url.scheme == "file" else source
        options = "-e " if told.get("dir_info", {}).get("editable") else ""
    tree = Path(__file__).resolve().parents[1]
    if (tree / "pyproject.toml").exists():  # the source itself runs
        source = str(tree)
    command = f"pip install {options}{shlex.quote(f'{source}[{extra}]')}"
    return ImportError(f"{what} {package}: {command}")
