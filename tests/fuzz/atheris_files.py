"""The readers of files under atheris, which is led by what code a file reaches.

    python tests/fuzz/atheris_files.py model -max_total_time=600 [FOLDER of a corpus]

What belongs here: targets. What does not: the law (files.py), changes of files (mutation.py). It
needs ``pip install atheris``, which nothing else does: it is imported when it is run.
"""

import random
import sys
import tempfile
from pathlib import Path

TARGETS = {  # by the name of the reader's file in files.py
    "model": "model.safetensors",
    "checkpoint": "all.ckpt",
    "idx": "some-images-idx3-ubyte",
    "idx.gz": "some-images-idx3-ubyte.gz",
    "npy": "some.npy",
    "npz": "some.npz",
    "csv": "some.csv",
}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"expected one of {', '.join(TARGETS)}, then options of libFuzzer")
    import atheris

    with atheris.instrument_imports(include=["fastbp"]):
        import files
    name = TARGETS[sys.argv.pop(1)]
    reader = next(reader for reader in files.READERS if reader.name == name)

    def change(data, most, seed):
        chance = random.Random(seed)
        try:
            content = chance.choice(reader.changes)(chance, data, reader.seeds)
        except Exception:  # what is no longer a file of this kind is changed as bytes
            content = atheris.Mutate(data, most)
        return content[:most]

    corpus = Path(tempfile.mkdtemp(prefix="fastbp-corpus-"))
    for number, content in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(content)
    with files.bench() as folder:
        atheris.Setup(
            [*sys.argv, str(corpus)],
            lambda data: files.try_one(reader, data, folder),
            custom_mutator=change,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
