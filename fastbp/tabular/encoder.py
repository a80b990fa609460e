"""The encoder of a table: what a network sees of its columns, as one array or as sparse rows.

What belongs here: which column is of which kind, the order of the output's columns, the encoder as
a dict and to scikit-learn. What does not: what is made of one column (codings.py), rows (rows.py).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastbp import hints, inputs
from fastbp.functions import shown, unknown
from fastbp.tabular import codings, facts, rows, streams
from fastbp.tabular.columns import Columns, Table, as_columns
from fastbp.tabular.rows import Encoded

VERSION = 1  # of to_dict
DTYPES = ("float32", "float64")
PARAMETERS = {"categorical": None, "numeric": None, "max_categories": 10_000, "dtype": "float32"}


@inputs.named
class Encoder:
    """Turn a table of numbers, texts and times into what a network sees.

    Numbers: missing ones become the median, and a second column says where (if some were missing in
    training); x <- (x - median) / (q75 - q25), half of the range where that is 0, and 0 where all
    are equal; then x / sqrt(1 + (x/3)^2). Texts: a column for each category, 0 or 1, of two
    categories one column, -1 or +1; categories that training did not have are all 0, and so are
    missing ones where training had none (else they have a column). Times: year, month, day of the
    week, day of the year and elapsed days, each as a number.

    Parameters
    ----------
    categorical : list of str or int, optional
        Columns (by name, or place from 0) whose numbers or times are categories; 1, 1.0 and "1" are
        one.
    numeric : list of str or int, optional
        Columns whose texts are read as numbers.
    max_categories : int, default 10000
        How many categories of a column have one of the output to themselves, the most frequent
        first, of equally frequent ones the first by text; all others, also those that training did
        not have, then share one.
    dtype : "float32" or "float64", default "float32"
        Of what `transform` gives.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the table.
    feature_names_in_ : ndarray (n_features_in_,) of object
        Their names, where the table had some.

    Notes
    -----
    The columns of the output stand in the order of the table's: a number's `x`, then `x=missing`;
    a text's `kind=red` by text, then `kind=other`, then `kind=missing`; a time's five parts, then
    `when=missing`. An output with columns for categories is a `scipy.sparse.csr_array`.

    References
    ----------
    D. Holzmueller, L. Grinsztajn, I. Steinwart, "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", 2024: scaling and smooth clipping of numbers.

    Examples
    --------
    >>> table = {"size": [1.0, 2.0, None, 3.0], "wood": ["oak", "elm", "oak", "oak"]}
    >>> encoder = Encoder().fit(table)
    >>> encoder.feature_names_out()
    ['size', 'size=missing', 'wood=oak']
    >>> encoder.transform({"wood": ["oak", "ash"], "size": [2.5, None]}).round(3)
    array([[0.493, 0.   , 1.   ],
           [0.   , 1.   , 0.   ]], dtype=float32)
    """

    def __init__(
        self,
        *,
        categorical: Iterable[str | int] | None = None,
        numeric: Iterable[str | int] | None = None,
        max_categories: int = 10_000,
        dtype: str = "float32",
    ) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self.max_categories = max_categories
        self.dtype = dtype

    def __repr__(self) -> str:
        own = (f"{k}={v!r}" for k, v in self.get_params().items() if repr(v) != repr(PARAMETERS[k]))
        return f"Encoder({', '.join(own)})"

    # learning and encoding

    def fit(self, X: Table | Iterable[Sequence[object]], y: object = None) -> Encoder:
        """Learn the columns of a table.

        Parameters
        ----------
        X : table, or chunks of `fastbp.data`
            Whatever `fastbp.tabular.as_columns` takes. Chunks are read once, in bounded memory, and
            need not fit: of more than 16,384 numbers a column, medians and quartiles are then of
            nearby ranks (within 0.5 % of up to 10^9 rows); of more than 131,072 categories, the
            rare ones count as others.
        y : ignored
            For scikit-learn's pipelines.

        Returns
        -------
        self
            The encoder, fitted.

        Raises
        ------
        TypeError, ValueError
            A column all missing, or one that `as_columns` refuses; a name in `categorical` or
            `numeric` that the table has not. The encoder stays as it was.

        Examples
        --------
        >>> Encoder(categorical=["code"]).fit({"code": [7, 7, 9], "size": [1.0, 2.0, 4.0]}).kinds()
        {'code': 'text', 'size': 'number'}
        """
        tables = _tables(X)
        if tables is None:
            table: Any = X
            self._learn(as_columns(table))
        else:
            self._learn_stream(tables)
        return self

    def transform(self, X: Table) -> Encoded:
        """Encode a table: columns are found by name, in any order, among others.

        Parameters
        ----------
        X : table, as `fit` takes it
            Its rows may be others than those of `fit`.

        Returns
        -------
        ndarray or scipy.sparse.csr_array (n, k)
            A row for each of the table's, a column for each of `feature_names_out`; sparse where
            there are columns for categories.

        Raises
        ------
        TypeError, ValueError
            Columns missing, or of another kind than in training.

        Examples
        --------
        >>> encoder = Encoder().fit({"size": [1.0, 2.0, 3.0]})
        >>> encoder.transform({"other": ["a"], "size": [2.0]})
        array([[0.]], dtype=float32)
        """
        self._check_fitted()
        return self._wrapped(self._encoded(self._columns(X)), X)

    def fit_transform(self, X: Table, y: object = None) -> Encoded:
        """Learn a table and encode it, read once.

        Parameters
        ----------
        X : table, as `as_columns` takes it
            Not in chunks, which are read by `fit`.
        y : ignored
            For scikit-learn's pipelines.

        Returns
        -------
        ndarray or scipy.sparse.csr_array (n, k)
            As of `transform`.
        """
        columns = as_columns(X)
        self._learn(columns)
        return self._wrapped(self._encoded(columns), X)

    def _learn_stream(self, tables: Iterable[tuple[str, Any]]) -> None:
        """`_learn`, of the parts of a table, each with where it is from."""
        dtype, n_rows = self._dtype(), 0
        most = inputs.as_count(self.max_categories, "max_categories")
        names: tuple[str, ...] = ()
        named, found = True, list[streams.ColumnStream]()
        for place, table in tables:
            try:
                columns = as_columns(table, only=names if found and named else None)
                if not found:
                    names, named, declared = columns.names, columns.named, self._kinds_told(columns)
                    found = [streams.ColumnStream(name, declared.get(name, "")) for name in names]
                if columns.names != names:
                    told = f"X: expected {len(names)} columns; got {len(columns.names)}"
                    raise ValueError(told)
                for stream, column in zip(found, columns.columns, strict=True):
                    stream.add(column, f"X: column {stream.name!r}")
            except (TypeError, ValueError) as error:
                raise type(error)(f"{place}: {error}" if place else str(error)) from None
            n_rows += len(columns)
        if n_rows == 0:
            raise ValueError(f"X: expected at least one row; got none of {len(names)} columns")
        learnt = [stream.coding(most, f"X: column {stream.name!r}") for stream in found]
        self._set(learnt, named, dtype, most)

    def _kinds_told(self, columns: Columns) -> dict[str, str]:
        """Of the columns that are declared, as what."""
        declared = dict.fromkeys(self._declared("categorical", columns), "categorical")
        for name in self._declared("numeric", columns):
            if declared.get(name) == "categorical":
                raise ValueError(f"numeric: expected other columns than categorical; got {name!r}")
            declared[name] = "numeric"
        if len(columns.names) == 0:
            # "0 feature(s) ..." are the words by which scikit-learn's checks know this refusal
            got = f"0 feature(s) (shape=({len(columns)}, 0)) while a minimum of 1 is required."
            raise ValueError(f"X: expected at least one column; got {got}")
        return declared

    def _learn(self, columns: Columns) -> None:
        dtype = self._dtype()
        most = inputs.as_count(self.max_categories, "max_categories")
        declared, k = self._kinds_told(columns), len(columns.names)
        if len(columns) == 0:
            raise ValueError(f"X: expected at least one row; got none of {k} columns")
        learnt = [
            codings.fit(name, column, f"X: column {name!r}", most, declared.get(name, ""))
            for name, column in zip(columns.names, columns.columns, strict=True)
        ]
        self._set(learnt, columns.named, dtype, most)

    def _set(
        self, learnt: list[codings.Coding], named: bool, dtype: np.dtype[Any], most: int
    ) -> None:
        self._codings, self._named, self._out, self._most = learnt, named, dtype, most
        self.n_features_in_ = len(learnt)
        vars(self).pop("feature_names_in_", None)
        if named:
            self.feature_names_in_ = np.array([coding.name for coding in learnt], object)

    def _dtype(self) -> np.dtype[Any]:
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype.name not in DTYPES or self.dtype is None:
            raise ValueError(unknown("dtype", self.dtype, DTYPES))
        return dtype

    def _declared(self, parameter: str, columns: Columns) -> list[str]:
        """Names of the columns that a parameter names."""
        given = getattr(self, parameter)
        if given is None:
            return []
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"{parameter}: expected a list of columns; got {shown(given)}")
        names, known = columns.names, set(columns.names)
        found = []
        for item in given:
            if isinstance(item, str) and item in known:
                found.append(str(item))
            elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
                named = str(item) in known  # as pandas has labels
                if not named and not 0 <= item < len(names):
                    raise self._no_column(item, parameter, names)
                found.append(str(item) if named else names[item])
            else:
                raise self._no_column(item, parameter, names)
        return found

    @staticmethod
    def _no_column(item: Any, parameter: str, names: tuple[str, ...]) -> Exception:
        hint = hints.nearest(item, names) if isinstance(item, str) else ""
        few = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return ValueError(f"{parameter}: expected columns of X ({few}); got {shown(item)}.{hint}")

    def _columns(self, X: Table) -> Columns:
        """The columns of training of a table, in their order."""
        names = [coding.name for coding in self._codings]
        columns = as_columns(X, only=names if self._named else None)
        if columns.named != self._named:
            told = (  # in scikit-learn's words
                "X does not have valid feature names, but Encoder was fitted with feature names"
                if self._named
                else "X has feature names, but Encoder was fitted without feature names"
            )
            warnings.warn(f"{told}: columns are taken by their place", UserWarning, stacklevel=3)
        if len(columns.names) != len(names):
            raise ValueError(
                f"X: expected {len(names)} columns; got {len(columns.names)}: X has "
                f"{len(columns.names)} features, but Encoder is expecting {len(names)} features as "
                "input"
            )
        return columns

    def _encoded(self, columns: Columns) -> Encoded:
        slots = [
            slot
            for coding, name, column in zip(
                self._codings, columns.names, columns.columns, strict=True
            )
            for slot in coding.slots(column, f"X: column {name!r}", self._out)
        ]
        return rows.joined(slots, len(columns), self._out)

    def _check_fitted(self) -> None:
        if self.__sklearn_is_fitted__():
            return
        told = "This Encoder instance is not fitted yet. Call fit first"
        if "sklearn" in sys.modules:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(told)
        raise ValueError(told)

    def feature_names_out(self) -> list[str]:
        """List the names of the output's columns, each once.

        Returns
        -------
        list of str
            As "size", "size=missing", "wood=oak", in the order of the columns.
        """
        self._check_fitted()
        names: dict[str, None] = {}
        for name in (name for coding in self._codings for name in coding.names()):
            unique, n = name, 1
            while unique in names:  # a category "missing" beside missing ones
                n += 1
                unique = f"{name} ({n})"
            names[unique] = None
        return list(names)

    def kinds(self) -> dict[str, str]:
        """Of each column of the table "number", "text" or "time".

        Returns
        -------
        dict of str: str
            By the column's name, in the table's order.

        Examples
        --------
        >>> Encoder().fit({"size": [1.0, 2.0], "wood": ["oak", "elm"]}).kinds()
        {'size': 'number', 'wood': 'text'}
        """
        self._check_fitted()
        return {coding.name: codings.kind_of(coding) for coding in self._codings}

    def strangers(self, X: Table) -> dict[str, list[str]]:
        """Of each column of texts of a table the categories that training did not have.

        Parameters
        ----------
        X : table, as `fit` takes it
            Its columns are found as by `transform`.

        Returns
        -------
        dict of str: list of str
            By the column's name, sorted; columns without new categories are left out.

        Examples
        --------
        >>> encoder = Encoder().fit({"wood": ["oak", "elm"]})
        >>> encoder.strangers({"wood": ["oak", "ash", "ash"]})
        {'wood': ['ash']}
        """
        self._check_fitted()
        found = {}
        for coding, column in zip(self._codings, self._columns(X).columns, strict=True):
            if isinstance(coding, codings.TextCoding) and not coding.other:
                texts = codings.as_texts(column, f"X: column {coding.name!r}", coding)
                known = {*coding.categories}
                there = np.unique(texts.codes[texts.codes >= 0]).tolist()
                values = [codings.canonical(texts.values[code]) for code in there]
                if new := sorted({value for value in values if value not in known}):
                    found[coding.name] = new
        return found

    # as a dict

    def to_dict(self) -> dict[str, Any]:
        """What was learnt, of what JSON has: strings, numbers, lists, true and false.

        Returns
        -------
        dict
            JSON-able; `from_dict` makes an encoder of it.

        Examples
        --------
        >>> learnt = Encoder().fit({"a": [1.0, 2.0, 3.0]}).to_dict()
        >>> learnt["columns"][0]["median"], learnt["columns"][0]["scale"]
        (2.0, 1.0)
        >>> Encoder.from_dict(learnt).transform({"a": [2.0, 5.0]}).round(3)
        array([[0.   ],
               [2.121]], dtype=float32)
        """
        self._check_fitted()
        return {
            "version": VERSION,
            "dtype": self._out.name,
            "max_categories": self._most,
            "named": self._named,
            "columns": [codings.to_dict(coding) for coding in self._codings],
        }

    @classmethod
    def from_dict(cls, learnt: dict[str, Any]) -> Encoder:
        """The encoder that `to_dict` wrote down, checked throughout: it may come out of any file.

        Parameters
        ----------
        learnt : dict
            What `to_dict` gave, or JSON of it.

        Returns
        -------
        Encoder
            Fitted: it encodes to the same bits.

        Raises
        ------
        ValueError
            What `to_dict` does not write, named by its place.
        """
        of = facts.Facts(learnt, "encoder")
        version = of.value("version")
        if type(version) is not int or version != VERSION:
            raise of.wrong("version", f"{VERSION}, what this release of fastbp reads")
        found = codings.from_list(of.entries("columns"))
        declared = [c.name for c in found if isinstance(c, codings.TextCoding) and c.declared]
        parsed = [c.name for c in found if isinstance(c, codings.NumberCoding) and c.parsed]
        encoder = cls(
            categorical=declared or None,
            numeric=parsed or None,
            max_categories=(most := of.count("max_categories", 1)),
            dtype=of.one_of("dtype", DTYPES),
        )
        if any(len(c.categories) > most for c in found if isinstance(c, codings.TextCoding)):
            raise of.wrong("max_categories", "at least as many as any column has")
        named = of.flag("named")
        of.close()
        names = [coding.name for coding in found]
        if not named and names != [f"x{j}" for j in range(len(names))]:
            raise of.wrong("columns", "the names x0, x1, ... where they are not named")
        encoder._set(found, named, np.dtype(encoder.dtype), most)
        return encoder

    # what scikit-learn asks of an estimator, which need not be there

    def get_feature_names_out(self, input_features: Iterable[str] | None = None) -> np.ndarray:
        """Give the output's columns by scikit-learn's protocol.

        Parameters
        ----------
        input_features : array_like of str, optional
            Must be the table's own names.

        Returns
        -------
        ndarray of object (k,)
            As `feature_names_out` has them.

        Raises
        ------
        ValueError
            `input_features` are others.
        """
        names = self.feature_names_out()
        if input_features is not None:
            own = [coding.name for coding in self._codings]
            given = list(input_features)
            if len(given) != len(own):
                told = "input_features should have length equal to number of features"
                raise ValueError(f"{told} ({len(own)}); got {len(given)}")
            if self._named and given != own:
                raise ValueError("input_features is not equal to feature_names_in_")
        return np.array(names, object)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name.

        Parameters
        ----------
        deep : bool
            Changes nothing: no parameter has parameters of its own.

        Returns
        -------
        dict
            All that the constructor takes, by name.
        """
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **params: object) -> Encoder:
        """Set parameters by name; they are checked when `fit` is called.

        Parameters
        ----------
        **params : as the constructor takes them
            By name.

        Returns
        -------
        self
            Not fitted anew.

        Raises
        ------
        ValueError
            There is no such parameter; nothing has changed.
        """
        for name in params:
            if name not in PARAMETERS:
                raise ValueError(unknown("parameter of Encoder", name, PARAMETERS))
        vars(self).update(params)
        return self

    def set_output(self, *, transform: str | None = None) -> Encoder:
        """Have `transform` give frames.

        Parameters
        ----------
        transform : "pandas", "polars", "default" or None
            What kind of table; None changes nothing.

        Returns
        -------
        self
            `transform` needs scikit-learn then.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _wrapped(self, encoded: Any, X: Any) -> Any:
        """As set_output, or scikit-learn's own configuration, asks for."""
        own = getattr(self, "_sklearn_output_config", {}).get("transform", "default")
        if own == "default" and "sklearn" not in sys.modules:
            return encoded
        try:
            from sklearn.utils._set_output import _get_output_config, _wrap_data_with_container
        except ImportError as error:
            raise hints.missing("frames as output need", "scikit-learn", "tables") from error
        if _get_output_config("transform", self)["dense"] != "default" and hasattr(encoded, "nnz"):
            encoded = encoded.toarray()  # frames have no sparse rows
        return _wrap_data_with_container("transform", encoded, X, self)

    _sklearn_auto_wrap_output_keys = frozenset({"transform"})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_codings")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
            input_tags=InputTags(string=True, categorical=True, allow_nan=True),
        )


def _tables(X: Any) -> Iterable[tuple[str, Any]] | None:
    """The parts of a table in chunks, each with where it is from; None of a whole one."""
    if callable(tables := getattr(X, "tables", None)) and not hasattr(X, "shape"):
        found: Iterable[tuple[str, Any]] = tables()
        return found
    if hasattr(X, "n_features") and hasattr(X, "n_rows") and not hasattr(X, "shape"):
        return ((f"chunk {i}", block[0]) for i, block in enumerate(X))
    return None
