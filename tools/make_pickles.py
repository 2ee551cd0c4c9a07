#!/usr/bin/env python3
"""Writes tests/golden/pickle: small PyTorch files, sound and malicious, for the reader's tests.

    /tmp/golden-venv/bin/python tools/make_pickles.py tests/golden/pickle

It needs what tools/make_golden.py needs, whose header says how to install it.

index.json lists every file as {"file", "ok", ...}. If "ok" is true the file is a proper state dict
and "tensors" gives name, dtype (as safetensors writes it), shape, "first" element, "sum" and all
"values" in row-major order; "contiguous": false marks a tensor whose strides are not row-major.
"optional": true marks what PyTorch reads but a reader may refuse, with an error. If "ok" is false a
reader must refuse the file, without calling anything: "why" says what is wrong. The malicious ones
would at most echo a line; this script itself loads none of them in a way that could.
"""
import collections
import io
import json
import pathlib
import shutil
import struct
import sys

import torch

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
          torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
          torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


# ---- sound files -------------------------------------------------------------------------------

def ramp(*shape, start=0.0, step=0.5, dtype=torch.float32):
    """Numbers that every floating type holds exactly."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    return (torch.arange(count, dtype=torch.float64) * step + start).to(dtype).reshape(shape)


def sound_files():
    """Name, state dict, arguments of torch.save, optional."""
    linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    for number, parameter in enumerate(linear.parameters()):
        parameter.data = ramp(*parameter.shape, start=float(number) - 1)
    ordered = collections.OrderedDict(weight=ramp(2, 3), bias=ramp(3, start=-4.0))
    base = ramp(4, 6)
    run = ramp(12, start=3.0)
    kinds = {f"t.{name}": ramp(2, 4, start=1.0, step=1.0, dtype=dtype)
             for dtype, name in DTYPES.items() if dtype is not torch.bool}
    kinds["t.BOOL"] = torch.tensor([[True, False, True], [False, False, True]])
    shapes = {"scalar": torch.tensor(2.5), "one": ramp(1, start=7.0), "empty": torch.empty(0, 4),
              "five": ramp(1, 2, 3, 1, 2)}
    yield "ordered-dict", ordered, {}, False
    yield "plain-dict", dict(ordered), {}, False
    yield "module", linear.state_dict(), {}, False  # an OrderedDict with an attribute: BUILD
    yield "dtypes", kinds, {}, False
    yield "shapes", shapes, {}, False
    yield "parameter", {"p": torch.nn.Parameter(ramp(2, 2)),
                        "frozen": torch.nn.Parameter(ramp(3), requires_grad=False)}, {}, False
    # Two parts of one storage, one of them away from its start, and one tensor under two names.
    shared = {"head": run[:4], "tail": run[4:].view(2, 4), "again": run[:4]}
    yield "shared-storage", shared, {}, False
    strided = {"transposed": base.t(), "columns": base[:, 1:3], "plain": ramp(2, 2)}
    yield "strided", strided, {}, True
    yield "protocol-4", ordered, {"pickle_protocol": 4}, True
    yield "legacy", shared, {"_use_new_zipfile_serialization": False}, True


def save(path, state, options):
    torch.save(state, path, **options)
    if not options.get("_use_new_zipfile_serialization", True):
        # The old layout names a storage by its address: give it a name that does not vary.
        key = str(next(iter(state.values())).storage()._cdata).encode()
        old, new = (b"X" + struct.pack("<I", len(name)) + name for name in (key, b"1000"))
        data = path.read_bytes()
        assert data.count(old) >= 2
        path.write_bytes(data.replace(old, new))


def describe(state):
    tensors = []
    for name, tensor in state.items():
        tensor = tensor.detach()
        values = tensor.reshape(-1).double().tolist()
        entry = {"name": name, "dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                 "first": values[0] if values else None, "sum": sum(values), "values": values}
        if not tensor.is_contiguous():
            entry["contiguous"] = False
        tensors.append(entry)
    return tensors


# ---- an assembler for pickles ------------------------------------------------------------------

def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def stack_named(module, name):
    return text(module) + text(name) + b"\x93"


def whole(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def several(*parts):
    return b"(" + b"".join(parts) + b"t"


ORDERED = named("collections", "OrderedDict") + b")R"
HARM = text("echo mneme: a pickle ran this")


def storage(key="0", numel=4, kind="FloatStorage"):
    return several(text("storage"), named("torch", kind), text(key), text("cpu"),
                   whole(numel)) + b"Q"


def tensor(size=(4,), stride=(1,), offset=0, source=None):
    return (named("torch._utils", "_rebuild_tensor_v2")
            + several(source or storage(), whole(offset), several(*map(whole, size)),
                      several(*map(whole, stride)), b"\x89", ORDERED) + b"R")


def state_dict(*values, protocol=2):
    """A state dict with one good tensor, then the given values under further names."""
    items = text("good") + tensor()
    for number, value in enumerate(values):
        items += text(f"bad{number}") + value
    return b"\x80" + bytes([protocol]) + b"}(" + items + b"u."


def archive(pickle, storages=None):
    """The zip that torch.save makes around a pickle."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.write_record("data.pkl", pickle, len(pickle))
    for key, data in (storages or {"0": struct.pack("<4f", 1, 2, 3, 4)}).items():
        writer.write_record(f"data/{key}", data, len(data))
    writer.write_end_of_file()
    del writer
    return buffer.getvalue()


# ---- files that must be refused ----------------------------------------------------------------

def code_files():
    """Name, pickle, why: pickles that call what they must not."""
    one = HARM + b"\x85"
    python = text("print('mneme: a pickle ran this')") + b"\x85"
    yield "global-os-system", state_dict(named("os", "system") + one + b"R"), "os.system by GLOBAL"
    yield ("global-posix-system", state_dict(named("posix", "system") + one + b"R"),
           "posix.system by GLOBAL")
    yield ("global-eval", state_dict(named("builtins", "eval") + python + b"R"),
           "builtins.eval by GLOBAL")
    yield ("global-exec", state_dict(named("builtins", "exec") + python + b"R"),
           "builtins.exec by GLOBAL")
    yield ("global-python2", state_dict(named("__builtin__", "eval") + python + b"R"),
           "eval by its Python 2 name")
    yield "global-uncalled", state_dict(named("os", "system")), "os.system as a value, not called"
    near = named("torch._utils", "_rebuild_tensor_v2x")
    yield ("global-near-name", state_dict(near + one + b"R"),
           "a name that only begins like an allowed one")
    yield ("global-split-name", state_dict(named("collections.OrderedDict", "") + b")R"),
           "an allowed name split elsewhere")
    for module, name, call in (("os", "system", one), ("builtins", "eval", python),
                               ("torch.serialization", "os.system", one)):
        yield (f"stack-global-{module}-{name}".replace(".", "-"),
               state_dict(stack_named(module, name) + call + b"R", protocol=4),
               f"{module}.{name} by STACK_GLOBAL")
    yield "inst", state_dict(b"(" + HARM + b"ios\nsystem\n"), "os.system by INST"
    yield "obj", state_dict(b"(" + named("os", "system") + HARM + b"o"), "os.system by OBJ"
    yield ("newobj", state_dict(named("subprocess", "Popen") + one + b"\x81"),
           "subprocess.Popen by NEWOBJ")
    yield ("newobj-ex", state_dict(named("subprocess", "Popen") + one + b"}\x92", protocol=4),
           "subprocess.Popen by NEWOBJ_EX")
    yield ("build", state_dict(ORDERED + b"}" + text("__setstate__") + named("os", "system") + b"sb"
                               + HARM + b"b"), "BUILD plants a __setstate__, then calls it")
    yield "reduce-value", state_dict(text("os.system") + one + b"R"), "REDUCE of a string"
    yield "extension", state_dict(b"\x82\x01" + one + b"R"), "EXT1, a global by number"
    yield ("storage-kind", state_dict(tensor(source=storage(kind="load"))),
           "a storage whose type is the function torch.load")
    yield "persistent-id", state_dict(HARM + b"Q"), "a persistent id that is no storage"


def broken_files():
    """Name, pickle, storages, why: pickles that do not hold together."""
    plain = state_dict()
    huge = 1 << 62
    yield "truncated", plain[:len(plain) // 2], None, "the pickle ends in its middle"
    yield "no-stop", plain[:-1], None, "the pickle has no STOP"
    yield "empty-pickle", b"", None, "the pickle has no byte"
    yield "memo-missing", state_dict(b"h\x4d"), None, "BINGET of an entry never put"
    yield ("memo-missing-long", state_dict(b"j\xff\xff\xff\xff"), None,
           "LONG_BINGET of an entry never put")
    yield "stack-underflow", b"\x80\x02}\x86R.", None, "TUPLE2 with one value on the stack"
    yield ("mark-missing", b"\x80\x02}" + text("good") + tensor() + b"u.", None,
           "SETITEMS without a MARK")
    yield "odd-items", b"\x80\x02}(" + text("good") + b"u.", None, "a name without a value"
    yield "not-a-dict", b"\x80\x02K\x07.", None, "the pickle is a number"
    yield "unknown-opcode", state_dict(b"\xff"), None, "no such opcode"
    yield "long-string", b"\x80\x02}(X\xf0\xff\xff\xffgoodu.", None, "a string longer than the file"
    yield ("storage-short", plain, {"0": struct.pack("<2f", 1, 2)},
           "the storage's record has half its bytes")
    yield ("storage-missing", state_dict(tensor(source=storage(key="1"))), None,
           "no record for the storage")
    yield ("storage-path", state_dict(tensor(source=storage(key="../data/0"))), None,
           "a storage key that is a path")
    yield ("tensor-long", state_dict(tensor(size=(5,))), None,
           "the tensor is longer than its storage")
    yield ("tensor-offset", state_dict(tensor(offset=1)), None,
           "the offset moves the tensor past its storage")
    yield ("tensor-offset-negative", state_dict(tensor(size=(2,), offset=-2)), None,
           "an offset below 0")
    yield ("tensor-stride", state_dict(tensor(size=(2, 2), stride=(3, 1))), None,
           "the strides reach past the storage")
    yield "tensor-size-negative", state_dict(tensor(size=(-4,))), None, "a size below 0"
    yield ("tensor-overflow", state_dict(tensor(size=(huge, 4), stride=(4, 1))), None,
           "the element count overflows 64 bits")
    yield ("tensor-ranks", state_dict(tensor(size=(2, 2), stride=(1,))), None,
           "two sizes and one stride")
    yield ("tensor-numel-huge", state_dict(tensor(source=storage(numel=huge))), None,
           "a storage of 2^62 elements")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_pickles.py FOLDER, such as tests/golden/pickle")
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    index = []
    for name, state, options, optional in sound_files():
        path = folder / f"ok-{name}.bin"
        save(path, state, options)
        entry = {"file": path.name, "ok": True, "tensors": describe(state)}
        assert describe(torch.load(path)) == entry["tensors"]
        if optional:
            entry["optional"] = True
        index.append(entry)

    def refuse(name, data, why):
        (folder / f"bad-{name}.bin").write_bytes(data)
        index.append({"file": f"bad-{name}.bin", "ok": False, "why": why})

    # The assembler is right: what it makes without harm is read.
    good = torch.load(io.BytesIO(archive(state_dict())), weights_only=True)
    assert good["good"].tolist() == [1, 2, 3, 4]
    for name, pickle, why in code_files():
        data = archive(pickle)
        try:  # PyTorch's own restricted machine, which calls nothing, is the second opinion
            values = torch.load(io.BytesIO(data), weights_only=True)
        except Exception:
            refuse(name, data, why)
        else:
            raise AssertionError((name, values))
    for name, pickle, storages, why in broken_files():
        refuse(name, archive(pickle, storages), why)
    sound = archive(state_dict())
    refuse("zip-truncated", sound[:-100], "the zip lacks its end")
    refuse("zip-no-pickle", sound.replace(b"data.pkl", b"data.pkx"), "the zip has no data.pkl")
    lines = ",\n".join(json.dumps(entry) for entry in index)
    (folder / "index.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(index)} files, {sum(p.stat().st_size for p in folder.iterdir())} bytes")


if __name__ == "__main__":
    main()
