"""Mutations of files: of bytes anywhere, and of what lies within the containers.

What belongs here: content and a generator of chance in, other content out. What does not: readers
and what is held against them (files.py).
"""

import gzip
import io
import json
import math
import struct
import zipfile

INTEGERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    *(2**n + d for n in (31, 32, 63, 64) for d in (-1, 0)),
)
TEXTS = (
    *("", "x", "nan", "inf", "-inf", "1e999", "-1", "0", "1_0", "0x10", "1e-320", "9" * 400),
    *("\0", '"', "'", "\n", "\r", ",", ";", "\t", "(", "[" * 50, "é", "\ud800", "\U0010ffff"),
    *("softmax", "maxout(3)", "relu(" + " " * 3000, "float64", "a" * 5000, "Infinity", "'; "),
)
VALUES = (
    *(None, True, False, 0, 1, 2, 3, -1, 7, 10**18, 2**63, 2**64, 10**400),
    *(0.5, -0.0, 1e300, 1e-320),
    *(math.nan, math.inf, -math.inf, [], {}, [[]], [None], [1, 2, 3], {"": 0}, {"n": 1}),
    *TEXTS,
)


def bytes_of(chance, content, others):
    """A few changes anywhere, without a look at what they mean."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        data = chance.choice(_OF_BYTES)(chance, data, others)
    return bytes(data)


def _place(chance, data):
    """A place in the data, near the start or the end as often as anywhere: headers lie there."""
    n = len(data)
    if n == 0:
        return 0
    near = chance.randrange(min(n, 100))
    return chance.choice((near, n - 1 - near, chance.randrange(n)))


def _flip(chance, data, others):
    if data:
        data[_place(chance, data)] ^= 1 << chance.randrange(8)
    return data


def _set(chance, data, others):
    if data:
        data[_place(chance, data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return data


def _cut(chance, data, others):
    return data[: _place(chance, data)]


def _remove(chance, data, others):
    at = _place(chance, data)
    return data[:at] + data[at + chance.choice((1, 2, 8, 64)) :]


def _insert(chance, data, others):
    at = _place(chance, data)
    more = chance.choice((b"\0", b"\xff" * 8, b" " * 20, chance.randbytes(chance.randrange(1, 30))))
    return data[:at] + more + data[at:]


def _repeat(chance, data, others):
    at = _place(chance, data)
    size = chance.choice((1, 8, 64))
    return data[: at + size] + data[at : at + size] * chance.choice((1, 3)) + data[at + size :]


def _splice(chance, data, others):
    other = chance.choice(others)
    at = _place(chance, data)
    return data[:at] + bytearray(other[_place(chance, other) :])


def _length(chance, data, others):
    """An integer of some width, where one may stand."""
    size = chance.choice((1, 2, 4, 8))
    at = _place(chance, data) // size * size
    if at + size <= len(data):
        order = chance.choice(("little", "big"))
        now = int.from_bytes(data[at : at + size], order)
        value = chance.choice((*INTEGERS, now + 1, now - 1, 2 * now)) % (1 << 8 * size)
        data[at : at + size] = value.to_bytes(size, order)
    return data


def _number(chance, data, others):
    """A decimal number in a text."""
    digits = [i for i, c in enumerate(data) if 48 <= c <= 57]
    if digits:
        end = at = chance.choice(digits)
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        text = chance.choice(TEXTS).encode("utf-8", "replace")
        value = chance.choice((text, str(chance.choice(INTEGERS)).encode()))
        data = data[:at] + value + data[end:]
    return data


_OF_BYTES = (_flip, _flip, _set, _set, _cut, _remove, _insert, _repeat, _splice, _length, _number)


def json_of(chance, document):
    """The document with one or a few of its nodes others."""
    document = json.loads(json.dumps(document))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        nodes = []  # (container, key)
        _collect(document, nodes)
        if not nodes:
            break
        parent, key = chance.choice(nodes)
        what = chance.randrange(6)
        if what == 0:
            del parent[key]
        elif what == 1:
            other, place = chance.choice(nodes)
            parent[key] = json.loads(json.dumps(other[place]))
        elif what == 2 and isinstance(parent, dict):
            parent[chance.choice((*TEXTS, "more"))] = parent.pop(key)
        elif what == 3 and isinstance(parent, list):
            parent.insert(key, chance.choice(VALUES))
        elif what == 4 and type(parent[key]) in (int, float):
            parent[key] = chance.choice((parent[key] + 1, parent[key] - 1, -parent[key], 1e9))
        else:
            parent[key] = chance.choice(VALUES)
    return document


def _collect(node, nodes):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        nodes.append((node, key))
        if isinstance(value, (dict, list)):
            _collect(value, nodes)


def safetensors_of(chance, content, others):
    """The description, the header or the numbers of a safetensors file, its lengths mended."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    what = chance.randrange(8)
    if what < 4:
        (key,) = header["__metadata__"]
        description = json.loads(header["__metadata__"][key])
        text = json.dumps(json_of(chance, description))
        if chance.random() < 0.2:
            text = bytes_of(chance, text.encode(), [b"{}", b"[1]"]).decode("utf-8", "replace")
        header["__metadata__"][key] = text
    elif what == 4:
        header = json_of(chance, header)
    elif what == 5:
        names = [name for name in header if name != "__metadata__"]
        one, other = chance.choice(names), chance.choice(names)
        if chance.random() < 0.5:
            header[one], header[other] = header[other], header[one]
        else:  # the same numbers in another shape or of another type
            shape, size = header[one]["shape"], math.prod(header[one]["shape"])
            header[one]["shape"] = chance.choice(([size], [1, *shape], shape[::-1], [*shape, 1]))
            if chance.random() < 0.3:
                header[one]["dtype"] = chance.choice(("F16", "BF16", "I32", "F64", "C64", "BOOL"))
    else:
        size, form = chance.choice(((4, "<f"), (8, "<d")))
        for _ in range(chance.choice((1, 1, 5))):
            value = chance.choice((math.nan, math.inf, -math.inf, -1.0, 1e38, 1e-45, 0.0))
            at = chance.randrange(max(1, len(body) // size)) * size
            body[at : at + size] = struct.pack(form, value)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def npy_of(chance, content, others):
    """The header of an array as text, its length mended; or its numbers."""
    length = struct.unpack("<H", content[8:10])[0]
    header, body = content[10 : 10 + length], content[10 + length :]
    if chance.random() < 0.3:
        return content[: 10 + length] + bytes_of(chance, body, others)
    if chance.random() < 0.5:
        descr = chance.choice((
            "<f8", ">f4", "<f2", "<f16", "|b1", "|u1", "<i8", ">u2", "<U3", "|S5", "<U0", "|V8",
            "|O",
            "<M8[s]", "<c8", "f", ",", "<f8,<f8", "q" * 50, "\\d", "", "8f", "(2,)f4",
        ))  # fmt: skip
        shape = chance.choice(("(3,)", "()", "(12, 0)", "(0, 12)", "(-1,)", "(True, 2)", "3",
                               "(3L,)", "(10**9,)", "(4000000000, 4000000000)",
                               "(" + "1, " * 40 + ")",
                               "(12,)", "(12, 3)", "(6, 6)", "None", "(1.0,)"))  # fmt: skip
        order = chance.choice(("True", "False", "0", "None"))
        header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    else:
        header = bytes_of(chance, header, [header, b"((((", b"'''"])[:65535]
    return content[:8] + struct.pack("<H", len(header)) + header + body


def npz_of(chance, content, others):
    """Members of an archive changed, renamed, doubled or left out, and packed again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(chance.choice((1, 1, 2))):
        if not members:
            break
        at = chance.randrange(len(members))
        name, data = members[at]
        what = chance.randrange(7)
        if what == 0:
            del members[at]
        elif what == 1:
            members.append((name.upper() if chance.random() < 0.5 else "x_test.npy", data))
        elif what == 2:
            names = ("X", "y.npy", "y.NPY", "", "/", "../y.npy", "Y.npy", "é.npy", "a" * 3000)
            members[at] = chance.choice(names), data
        elif len(data) > 10:
            change = npy_of if data[:6] == b"\x93NUMPY" and what < 6 else bytes_of
            members[at] = name, change(chance, data, [data])
    stream = io.BytesIO()
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(stream, "w", chance.choice(kinds)) as archive:
        archive._seekable = True
        for name, data in {name: data for name, data in members}.items():
            archive.writestr(name or "_", data)
    return stream.getvalue()


def csv_of(chance, content, others):
    """Cells, delimiters and lines of a table."""
    lines = [line.split(b",") for line in content.split(b"\n")]
    for _ in range(chance.choice((1, 1, 3))):
        line = chance.choice(lines)
        what = chance.randrange(6)
        if what == 0:
            line.append(line[0])
        elif what == 1:
            del line[chance.randrange(len(line)) :]
        elif what == 2:
            lines.insert(chance.randrange(len(lines)), list(chance.choice(lines)))
        else:
            text = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
            if line:
                line[chance.randrange(len(line))] = text
        lines = [line for line in lines if line] or [[b""]]
    delimiter = chance.choice((b",", b",", b";", b"\t"))
    return chance.choice((b"\n", b"\n", b"\r\n", b"\r")).join(delimiter.join(l) for l in lines)


def packed(change):
    """A change of what a gzip file holds."""

    def of(chance, content, others):
        others = [gzip.decompress(other) for other in others]
        data = change(chance, gzip.decompress(content), others)
        return gzip.compress(data, 1, mtime=0)

    return of
