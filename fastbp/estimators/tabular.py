"""`TabularClassifier` and `TabularRegressor`: tables as people have them, a default that wins.

What belongs here: the two by name, and what classes and numbers do differently. What does not:
fitting, predicting and saving (tabular_ensemble.py).
"""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from fastbp import inputs
from fastbp.estimators.tabular_ensemble import BaseTabular
from fastbp.estimators.targets import Labels, Scaled


@inputs.named
class TabularClassifier(ClassifierMixin, BaseTabular):
    """Classes of tables as people have them: texts, dates, gaps and all.

    The table is encoded (`fastbp.tabular.Encoder`), numbers also by their places among quantiles,
    and several small networks are trained together (`fastbp.fit_many`), each with a share of the
    rows of its own by which its best epoch is chosen; their probabilities are averaged. The same
    `random_state` gives the same bits, at any number of threads.

    Parameters
    ----------
    preset : str, optional
        None is "default"; "best" takes some four times as long; "realmlp-td-s" is the published
        recipe of Holzmueller, Grinsztajn & Steinwart (2024, "Better by default"); "mlp" is one
        plain network.
    n_ensemble : int, optional
        How many networks; the preset's own number when None.
    random_state : int, RandomState instance or None
        Of weights, order and each network's share of the rows: the same number gives the same bits.
    n_threads : int, optional
        None: all cores.
    time_limit : float, optional
        Seconds that a fit may take, encoding included; networks whose turn has not come by then
        are left out, and one is trained for an epoch at least.
    validation_fraction : float in [0, 1)
        Share of the rows by which a network's best epoch is chosen; 0: the last epoch is kept.
    callbacks : list of callables, optional
        Each is called with a `fastbp.training.Event` after each epoch of each network; True ends
        that network's fit.
    verbose : bool
        A tqdm bar on stderr.
    encoder : Encoder, optional
        Says which columns are categories or numbers, and how many categories are kept; it is not
        fitted itself.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Of several labels a row, their numbers.
    networks_ : list of fastbp.Network
        Those that were trained and did not diverge.
    histories_ : list of fastbp.History
        One for each network.
    encoder_ : fastbp.tabular.Encoder
        What makes rows of numbers of a table.
    metadata_ : dict
        Whatever JSON holds; `save` keeps it.
    n_features_in_, feature_names_in_, n_outputs_, n_iter_
        As in scikit-learn; feature_names_in_ where the table named its columns.

    Examples
    --------
    >>> from fastbp.estimators import TabularClassifier
    >>> table = {"size": [1.0, None, 3.0, 9.0] * 20, "wood": ["oak", "elm", "oak", "elm"] * 20}
    >>> model = TabularClassifier(random_state=0).fit(table, ["low", "low", "low", "high"] * 20)
    >>> model.predict({"wood": ["elm", "oak"], "size": [8.5, 1.5]}).tolist()
    ['high', 'low']
    """

    _of = 0

    @property
    def classes_(self):
        """The classes, (n_classes,), in the order of the columns of `predict_proba`."""
        check_is_fitted(self)
        return self._targets.classes

    def _learn_targets(self, y, weight):
        return Labels.fit(y)

    def predict_proba(self, X):
        """Predict probabilities of the classes, or of each label.

        Parameters
        ----------
        X : as in `fit`
            Columns are found by name, in any order, where the table of `fit` named them.

        Returns
        -------
        ndarray (n, n_classes) or (n, n_labels)
            In [0, 1], means over the networks; rows of classes add up to 1.

        Examples
        --------
        >>> from fastbp.estimators import TabularClassifier
        >>> table = {"size": [1.0, None, 3.0, 9.0] * 20, "wood": ["oak", "elm", "oak", "elm"] * 20}
        >>> y = ["low", "low", "low", "high"] * 20
        >>> model = TabularClassifier(random_state=0).fit(table, y)
        >>> model.classes_, model.predict_proba({"size": [9.0], "wood": ["elm"]}).round(1)
        (array(['high', 'low'], dtype='<U4'), array([[1., 0.]]))
        """
        return self._outputs(X)

    def predict_log_proba(self, X):
        """Predict the logarithm of `predict_proba`.

        Parameters
        ----------
        X : as in `fit`
            Columns are found by name, in any order, where the table of `fit` named them.

        Returns
        -------
        ndarray (n, n_classes) or (n, n_labels)
            Natural logarithms; -inf of a probability of 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One more epoch, over X and y, at the preset's first rate; Adam's averages begin anew.

        What the first call sees of the table (its categories, its quantiles) is what later ones go
        by; the best epoch is not chosen.

        Parameters
        ----------
        X, y : as in `fit`
            Rows of this call, with the columns of the first.
        classes : array_like (n_classes,), optional
            All that will ever come, in the first call; those of its y when None.
        sample_weight : as in `fit`
            How much each sample counts, at least 0; None: all the same.

        Returns
        -------
        self
            The estimator, an epoch further.

        Examples
        --------
        >>> from fastbp.estimators import TabularClassifier
        >>> table = {"size": [1.0, None, 3.0, 9.0] * 20, "wood": ["oak", "elm", "oak", "elm"] * 20}
        >>> y = ["low", "low", "low", "high"] * 20
        >>> model = TabularClassifier("mlp", random_state=0).partial_fit(table, y)
        >>> model.partial_fit(table, y).n_iter_
        2
        """

        def learn(y, weight):
            return Labels.fit(y if classes is None else unique_labels(classes))

        return self._partial_fit(X, y, sample_weight, learn)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@inputs.named
class TabularRegressor(RegressorMixin, BaseTabular):
    """Numbers from tables as people have them: texts, dates, gaps and all.

    As `TabularClassifier`; targets, one or several, are standardised for the networks, whose
    outputs are averaged.

    Parameters
    ----------
    preset, n_ensemble, random_state, n_threads, time_limit : as in `TabularClassifier`
        Which networks, how many, and how long they may take.
    validation_fraction, callbacks, verbose, encoder : as in `TabularClassifier`
        What the best epoch is chosen by, who watches, and what the columns are.

    Attributes
    ----------
    networks_, histories_, encoder_, metadata_, n_features_in_, n_outputs_, n_iter_, ...
        As in `TabularClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import TabularRegressor
    >>> x = np.linspace(0, 6, 300)
    >>> model = TabularRegressor(random_state=0).fit({"x": x}, np.sin(x))
    >>> model.score({"x": x}, np.sin(x)) > 0.99
    True
    """

    _of = 1

    def _learn_targets(self, y, weight):
        return Scaled.fit(y, weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """One more epoch, over X and y; as `TabularClassifier.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
            Rows of this call, with the columns of the first, and how much each counts.

        Returns
        -------
        self
            The estimator, an epoch further.

        Examples
        --------
        >>> from fastbp.estimators import TabularRegressor
        >>> model = TabularRegressor("mlp", random_state=0)
        >>> for block in ([0.0, 1.0], [2.0, 3.0]):
        ...     model = model.partial_fit({"x": block}, block)
        >>> model.n_iter_
        2
        """
        return self._partial_fit(X, y, sample_weight, Scaled.fit)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
