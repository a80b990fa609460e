"""The options of the commands.

What belongs here: what can be written on the command line, and its help. What does not: what a
command does with it (train.py, predict.py, ...).
"""

import argparse
import csv
from collections.abc import Callable
from typing import Any, NoReturn

from fastbp.cli.output import fail
from fastbp.optimizers import OPTIMIZERS, SLOTS

HEADERS = ("auto", "yes", "no")
MLP = "mlp"  # one network, by the options that say how it is made
PRESETS = ("default", "best", "realmlp-td-s", MLP)
# What says how one network is made and trained: on a table, each chooses the preset mlp. Where one
# is not given it is this.
OF_ONE_NETWORK: dict[str, Any] = {
    "sizes": None, "hidden": None, "activation": "tanh", "output": None, "loss": None, "init": None,
    "dtype": "float32", "batch_size": None, "optimizer": "adam", "learning_rate": None,
    "momentum": None, "l2": 0.0, "l1": 0.0, "schedule": "constant", "patience": None,
    "checkpoint": None, "no_scaling": False, "mpi": False,
}  # fmt: skip
# what a model is exported as, and the ending of its file's name
FORMATS = {"onnx": ".onnx", "torch": ".pt", "c": ".c", "sklearn": ".joblib"}
DIGITS = "digits"  # the data set that the package carries


class _Parser(argparse.ArgumentParser):
    """Reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(fail(f"error: {message} (see {self.prog} --help)"))


class _Version(argparse.Action):
    """Imports the package only when its version is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import fastbp

        print(f"fastbp {fastbp.__version__}")
        parser.exit()


def _number(
    kind: Callable[[str], float], fits: Callable[[float], bool], expected: str
) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return convert


_count = _number(int, lambda value: value >= 1, "a whole number of at least 1")
_seed = _number(int, lambda value: value >= 0, "a whole number of at least 0")
_rate = _number(float, lambda value: 0 < value < float("inf"), "a positive number")
_weight = _number(float, lambda value: 0 <= value < float("inf"), "a number of at least 0")
_share = _number(float, lambda value: 0 <= value < 1, "a share of at least 0 and below 1")


def _sizes(text: str) -> list[int | None]:
    fields = [field.strip() for field in text.split(",")]
    automatic = {0, len(fields) - 1}
    sizes: list[int | None] = []
    for place, field in enumerate(fields):
        if field == "auto" and place in automatic:
            sizes.append(None)
        elif field.isdecimal() and int(field) > 0:
            sizes.append(int(field))
        else:
            raise argparse.ArgumentTypeError(
                f"expected whole numbers of at least 1 such as 64,30,10 "
                f"(the first and last may be 'auto'), found {text!r}"
            )
    if len(sizes) < 2:
        raise argparse.ArgumentTypeError(f"expected at least two layers, found {text!r}")
    return sizes


def _names(text: str) -> list[str]:
    """Names with commas between them; one with a comma of its own stands in quotes."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, found {text!r}")
    return names


def _hidden(text: str) -> list[int | None]:
    return _sizes(f"auto,{text},auto") if text.strip() else [None, None]


def parser() -> argparse.ArgumentParser:
    """Return the parser; `command` of what it returns names the module that does the work."""
    top = _Parser(
        prog="fastbp",
        description="Train feed-forward networks by backpropagation, at the speed of the CPU.",
        epilog="example:\n  fastbp train        train a network on handwritten digits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    _add_check(commands)
    _add_explain(commands)
    _add_export(commands)
    _add_bench(commands)
    _add_info(commands)
    return top


def _command(commands: Any, name: str, summary: str, details: str, example: str) -> Any:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {details}",
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    return parser


def _add_reading(parser: Any, default: str) -> None:
    """How a file of text is read."""
    parser.add_argument(
        "--header",
        choices=HEADERS,
        help="whether the first line of a CSV file names its columns; auto refuses one with "
        f"numbers, which may be data; without names the columns are 1, 2, ... (default: {default})",
    )
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        help="of a CSV file, such as latin-1 "
        f"(default: {'utf-8' if default == 'auto' else default})",
    )
    parser.add_argument(
        "--delimiter",
        metavar="MARK",
        help="between the fields of a CSV file, where the first lines do not tell it",
    )
    parser.add_argument(
        "--decimal",
        choices=(".", ","),
        help="mark of the numbers in a CSV file, where they do not tell it themselves",
    )


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        "train a network",
        "Without DATA, on the handwritten digits that the package carries.",
        "  fastbp train\n"
        "  fastbp train mnist/ --hidden 128 --epochs 10 --save mnist.safetensors\n"
        "  fastbp train wine.csv --target quality --save wine.safetensors\n"
        "  fastbp train wine.csv --target quality --hidden 32,32 --save wine.safetensors\n"
        "  mpiexec -n 2 fastbp train mnist/ --hidden 512 --batch-size 256 --mpi",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        default=DIGITS,
        help="a folder with the files of MNIST (train-images-idx3-ubyte.gz, ...), an IDX image "
        "file, .npz (X, y or x_train, y_train, x_test, y_test), .npy with --labels, or a table "
        "with --target: .csv (also .gz, .zst), .parquet, .arrow, .feather (default: digits)",
    )
    _add_data(parser)
    _add_table(parser)
    _add_network(parser)
    _add_training(parser)
    parser.add_argument("--save", metavar="FILE", help="write the network there (safetensors)")
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="leave out the check of the gradients at the end, which takes up to about 2 s",
    )


def _add_data(parser: Any) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("--target", metavar="COLUMN", help="the column of a table to predict")
    data.add_argument("--labels", metavar="FILE", help="label file of an image or .npy file")
    _add_reading(data, "auto")
    data.add_argument(
        "--task",
        choices=("classification", "regression"),
        help="what the targets are (default: texts and whole numbers of at most 100 distinct "
        "values are classes, other numbers are fitted)",
    )
    data.add_argument(
        "--test",
        metavar="SHARE",
        type=_share,
        default=0.2,
        help="share of the rows held out for the test, unless the data bring a test set "
        "(default: %(default)s)",
    )
    data.add_argument(
        "--validation",
        metavar="SHARE",
        type=_share,
        help="share of the other rows that is not trained on but watched (default: 0.1; of a "
        "table's networks each has rows of its own, default: 0.2)",
    )
    data.add_argument(
        "--no-scaling",
        action="store_true",
        default=None,
        help="do not standardise; by default columns of tables, and other inputs outside of "
        "[0, 1], are, and the scaling is folded into the network",
    )


def _add_table(parser: Any) -> None:
    table = parser.add_argument_group(
        "tables",
        "Columns of numbers, texts and dates are encoded, gaps included. Columns that are constant "
        "or tell the row (texts that differ in every row, whole numbers that rise by one) are left "
        "out, which is said, unless --columns, --categorical or --numeric names them.",
    )
    several = {"metavar": "COLUMN,...", "type": _names, "default": []}
    table.add_argument("--columns", **several | {"default": None}, help="use these alone")
    table.add_argument("--drop", **several, help="leave these out")
    table.add_argument(
        "--id", **several, help="what names a row: left out, and written beside predictions"
    )
    table.add_argument("--categorical", **several, help="numbers that are names of categories")
    table.add_argument("--numeric", **several, help="texts that are numbers")
    table.add_argument(
        "--strict",
        action="store_true",
        help="refuse rows without a target, which are left out otherwise",
    )
    table.add_argument(
        "--stream",
        action="store_true",
        help="train one network chunk by chunk, on Parquet (a file, a folder, a pattern with *) "
        "of any size; so are files larger than a quarter of the free memory",
    )
    table.add_argument(
        "--preset",
        metavar="NAME",
        choices=PRESETS,
        help="%(choices)s: several small networks; better and slower; the recipe of Holzmueller et "
        "al. 2024; one network by the options below, each of which chooses it (default: default)",
    )
    table.add_argument(
        "--importance",
        metavar="N",
        type=_seed,
        nargs="?",
        const=5,
        help="tell the N columns that matter most for the score of rows not trained on "
        "(default: 5, of tables of up to 100 columns)",
    )


def _add_network(parser: Any) -> None:
    network = parser.add_argument_group("network")
    sizes = network.add_mutually_exclusive_group()
    sizes.add_argument(
        "--sizes", type=_sizes, metavar="N,...,N", help="all layer sizes (default: auto,30,auto)"
    )
    sizes.add_argument(
        "--hidden", type=_hidden, metavar="N,...", help="sizes of the hidden layers only"
    )
    network.add_argument(
        "--activation",
        metavar="NAME",
        help="of the hidden layers; one, or one a layer with commas (default: tanh)",
    )
    network.add_argument(
        "--output",
        metavar="NAME",
        help="activation of the last layer (default: softmax for classes, identity for numbers)",
    )
    network.add_argument(
        "--loss", metavar="NAME", help="(default: cross_entropy for classes, mse for numbers)"
    )
    network.add_argument(
        "--init",
        metavar="NAME",
        help="how weights begin (default: he_normal for relu and its kin, else glorot_uniform)",
    )
    network.add_argument("--dtype", choices=("float32", "float64"), help="(default: float32)")
    network.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of weights and order (default: 0)"
    )


def _add_training(parser: Any) -> None:
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs", type=_count, metavar="N", help="at most (default: 30, or the preset's)"
    )
    training.add_argument(
        "--batch-size", type=_count, metavar="N", help="(default: 16, or all rows if fewer)"
    )
    training.add_argument(
        "--optimizer",
        choices=tuple(OPTIMIZERS),
        metavar="NAME",
        help="%(choices)s (default: adam)",
    )
    training.add_argument(
        "--learning-rate",
        type=_rate,
        metavar="RATE",
        help="(default: what suits the optimizer on standardised data, 0.005 for adam)",
    )
    training.add_argument("--momentum", type=_share, metavar="SHARE", help="for sgd (default: 0.9)")
    training.add_argument(
        "--l2",
        type=_weight,
        metavar="LAMBDA",
        help="adds (LAMBDA/2n) sum W^2 to the loss, n rows (default: 0)",
    )
    training.add_argument(
        "--l1",
        type=_weight,
        metavar="LAMBDA",
        help="adds (LAMBDA/n) sum |W| (default: 0)",
    )
    training.add_argument(
        "--schedule",
        choices=("constant", "cosine", "one-cycle"),
        help="of the learning rate over the epochs (default: constant)",
    )
    training.add_argument(
        "--patience",
        type=_count,
        metavar="N",
        help="end when the validation loss has not improved in N epochs; keep the best network",
    )
    training.add_argument(
        "--mpi",
        action="store_true",
        default=None,
        help="one network by all processes of mpiexec, each with its share of the rows; batches "
        "are those of one process, and the first process alone prints and writes",
    )
    training.add_argument(
        "--time-limit", type=_rate, metavar="SECONDS", help="end after so many seconds"
    )
    training.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep the run in FILE; where it is there already, go on from it",
    )
    training.add_argument("--threads", type=_count, metavar="N", help="(default: as many as pay)")


def _add_predict(commands: Any) -> None:
    parser = _command(
        commands,
        "predict",
        "predict with a saved network",
        "Prints a line a row, in the order of the data: the class and its probability, or the "
        "numbers.",
        "  fastbp predict wine.safetensors new_wines.csv --out predictions.csv",
    )
    parser.add_argument("model", metavar="MODEL", help="file written by train --save")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="as for train, also .npy and .npz with inputs only; of data with a test set, the "
        "test set; a folder of Parquet, or a pattern with *, that fits in memory. Columns of a "
        "table are found by name. 'digits': those of the package",
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="column with the true values (default: the model's)"
    )
    parser.add_argument("--labels", metavar="FILE", help="label file of an image or .npy file")
    _add_reading(parser, "the model's")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write .npy (the outputs), .csv or .parquet instead of printing",
    )


def _add_samples(parser: Any) -> None:
    """MODEL and DATA with targets, each optional (samples.py reads them)."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="file written by train --save")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="as for predict, with targets (default: the digits of the package, where the network "
        "fits them)",
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="column with the true values (default: the model's)"
    )
    parser.add_argument("--labels", metavar="FILE", help="label file of an image or .npy file")
    _add_reading(parser, "the model's")


def _add_check(commands: Any) -> None:
    parser = _command(
        commands,
        "check",
        "check every derivative of a network",
        "Output error, recurrence and gradients against differences of the loss, with error "
        "bounds. Without MODEL, of two networks on the digits of the package, and the structure "
        "of every activation. Exit code 1 where something is wrong; 0 also where a check "
        "could not tell, which the last line says.",
        "  fastbp check\n  fastbp check wine.safetensors wine.csv --tables",
    )
    _add_samples(parser)
    parser.add_argument(
        "--rows", type=_count, default=20, metavar="N", help="the first N rows (default: 20)"
    )
    parser.add_argument(
        "--max-parameters",
        type=_count,
        default=5000,
        metavar="N",
        help="of more parameters an even selection is checked (default: 5000)",
    )
    parser.add_argument(
        "--time-limit",
        type=_rate,
        metavar="SECONDS",
        help="for each check of gradients; of what takes longer a share is checked",
    )
    parser.add_argument("--tables", action="store_true", help="print the numbers too")


def _add_explain(commands: Any) -> None:
    parser = _command(
        commands,
        "explain",
        "walk through the derivation of backpropagation on real numbers",
        "Why is there a sum over k, when does it collapse? Without MODEL, on a handwritten digit: "
        "a sigmoid output beside softmax.",
        "  fastbp explain\n"
        "  fastbp explain --html page.html\n"
        "  fastbp explain wine.safetensors wine.csv --row 3 --neuron 2",
    )
    _add_samples(parser)
    parser.add_argument(
        "--row", type=_seed, default=0, metavar="N", help="the sample, counted from 0 (default: 0)"
    )
    parser.add_argument(
        "--neuron",
        type=_count,
        metavar="J",
        help="of the last layer, counted from 1 (default: one that shows most)",
    )
    parser.add_argument(
        "--html", metavar="FILE", help="write a page there, which needs no network, and be brief"
    )


def _add_export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        "write a model for another runtime",
        "onnx: a graph, of a model on tables with its encoder; torch: a pickled "
        "torch.nn.Sequential; c: one C99 file, whose bytes of flash and RAM are told; sklearn: "
        "scikit-learn's MLPClassifier or MLPRegressor in a joblib file.",
        "  fastbp export wine.safetensors --to onnx\n"
        "  fastbp export wine.safetensors --to c --output src/wine.c --header",
    )
    parser.add_argument("model", metavar="MODEL", help="file written by train --save")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to (default: beside MODEL, with the format's ending: "
        f"{', '.join(FORMATS.values())})",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="for c: what its functions' names begin with (default: model)",
    )
    parser.add_argument("--header", action="store_true", help="for c: write a header beside it")


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "measure this machine, and how fast a step of training is on it",
        "Seven networks A to G on one thread, in less than a minute, each beside the rate of "
        "multiply-adds that one core reaches.",
        "  fastbp bench\n  fastbp bench --cases A,C --dtype float64 --json",
    )
    parser.add_argument(
        "--cases", metavar="A,...", default="A,B,C,D,E,F,G", help="(default: %(default)s)"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")


def _add_info(commands: Any) -> None:
    parser = _command(
        commands,
        "info",
        "tell versions, the CPU level in use and the compiler",
        "With MODEL, also what the network is, and the memory that training it takes.",
        "  fastbp info --json\n"
        "  fastbp info wine.safetensors\n"
        "  fastbp info wine.safetensors --batch-size 64 --optimizer sgd",
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="file written by train --save")
    parser.add_argument(
        "--batch-size",
        type=_count,
        metavar="N",
        help="tell the bytes that a fit of MODEL with such batches takes",
    )
    parser.add_argument(
        "--optimizer",
        choices=tuple(SLOTS),
        metavar="NAME",
        help="for --batch-size (default: adam): %(choices)s. momentum and nesterov are sgd with "
        "them",
    )
