"""Pickles that name what a model has no need of, and some that would run it."""

from __future__ import annotations

from pathlib import Path

from service.errors import UnsafePickleError
from tests.support.hostile.file import HostileFile
from tests.support.hostile.opcodes import ALS, call, found, group, model, pairs, stack_found, text, whole

_GENERAL = "save a dict of an implicit model, id maps and a scipy matrix, plus only numbers and text"


def _unsafe(content: bytes, name: str, advice: str = _GENERAL, key: str = "") -> HostileFile:
    where = f" It is in {key!r}." if key else ""
    sentence = f"The pickle refers to {name}, which is not allowed, and nothing was executed; {advice}.{where}"
    return HostileFile(content, UnsafePickleError, sentence)


def executions(marker: Path) -> dict[str, HostileFile]:
    """Return pickles that would run something."""
    command = f"touch '{marker}'"
    code = f"open({str(marker)!r}, 'w')"
    system = found("posix", "system")
    extension = HostileFile(
        b"",
        UnsafePickleError,
        "The pickle uses an extension code (EXT), and nothing was executed; save the model with pickle.dump.",
    )
    persistent = (
        "The pickle refers to an object outside the file (a persistent id), and nothing was executed; save the model "
        "with pickle.dump."
    )
    return {
        "os.system": _unsafe(whole(call(found("os", "system"), text(command))), "os.system"),
        "posix.system at protocol 0": _unsafe(b"cposix\nsystem\n(V" + command.encode() + b"\ntR.", "posix.system"),
        "os.system beside a good model": _unsafe(model(call(system, text(command))), "posix.system", key="model"),
        "subprocess": _unsafe(
            whole(call(found("subprocess", "check_output"), text(command))), "subprocess.check_output"
        ),
        "eval": _unsafe(whole(call(found("builtins", "eval"), text(code))), "builtins.eval"),
        "exec": _unsafe(whole(call(found("__builtin__", "exec"), text(code))), "__builtin__.exec"),
        "open": _unsafe(whole(call(found("io", "open"), text(str(marker)), text("w"))), "io.open"),
        "INST": _unsafe(b"(V" + command.encode() + b"\nios\nsystem\n.", "os.system"),
        "OBJ": _unsafe(whole(b"(" + system + text(command) + b"o"), "posix.system"),
        "NEWOBJ": _unsafe(whole(found("subprocess", "Popen") + group(text(command)) + b"\x81"), "subprocess.Popen"),
        "EXT1": HostileFile(whole(b"\x82\x01"), extension.error, extension.sentence),
        "EXT2": HostileFile(whole(b"\x83\x00\x01"), extension.error, extension.sentence),
        "EXT4": HostileFile(whole(b"\x84\x00\x00\x01\x00"), extension.error, extension.sentence),
        "persistent id": HostileFile(b"(dPsomewhere\n.", UnsafePickleError, persistent),
        "binary persistent id": HostileFile(whole(text("somewhere") + b"Q"), UnsafePickleError, persistent),
    }


def reaching(marker: Path) -> dict[str, HostileFile]:
    """Return pickles that reach through what is known, or past it, for something that could be called."""
    code = f"open({str(marker)!r}, 'w')"
    return {
        "runstring": _unsafe(
            whole(call(found("numpy.testing._private.utils", "runstring"), text(code), b"}")),
            "numpy.testing._private.utils.runstring",
        ),
        "f2py": _unsafe(
            whole(call(found("numpy.f2py.crackfortran", "myeval"), text(code))), "numpy.f2py.crackfortran.myeval"
        ),
        "a method by a dotted name": _unsafe(
            whole(call(stack_found("numpy", "ndarray.tofile"), text(str(marker)))), "numpy.ndarray.tofile"
        ),
        "the globals of a class": _unsafe(
            whole(stack_found("implicit.cpu.als", "AlternatingLeastSquares.fit.__globals__")),
            "implicit.cpu.als.AlternatingLeastSquares.fit.__globals__",
            "AlternatingLeastSquares is the only implicit model that is supported",
        ),
        "the subclasses of object": _unsafe(
            whole(call(stack_found("builtins", "object.__subclasses__"))), "builtins.object.__subclasses__"
        ),
        "__builtins__ of a module": _unsafe(
            whole(stack_found("collections", "__builtins__")), "collections.__builtins__"
        ),
        "getattr chain": _unsafe(whole(call(found("builtins", "getattr"), ALS, text("__init__"))), "builtins.getattr"),
        "attrgetter": _unsafe(whole(call(found("operator", "attrgetter"), text("a.b"))), "operator.attrgetter"),
        "partial": _unsafe(whole(call(found("functools", "partial"), found("posix", "system"))), "functools.partial"),
        "__import__": _unsafe(whole(call(found("builtins", "__import__"), text("os"))), "builtins.__import__"),
        "a module of ours": _unsafe(
            whole(found("service.model.formats.globals", "_TABLE")), "service.model.formats.globals._TABLE"
        ),
        "a name that is nearly known": _unsafe(
            whole(found("numpy.core.multiarray", "scalar ")), "numpy.core.multiarray.scalar "
        ),
        "a name with a line of its own": _unsafe(
            whole(stack_found("numpy\x1b[2J", "x" * 90)), "numpy\\u001b[2J." + "x" * 70 + "…"
        ),
    }


def other_libraries() -> dict[str, HostileFile]:
    """Return pickles of what people do save, with how to save it instead."""
    plain_ids = "save ids as plain lists or dicts, with series.tolist() or series.to_dict()"
    advice = {
        "joblib.numpy_pickle NumpyArrayWrapper": "write the file with pickle.dump instead of joblib.dump",
        "cloudpickle.cloudpickle _make_function": "write the file with the standard library's pickle.dump",
        "dill._dill _create_function": "write the file with the standard library's pickle.dump",
        "pandas.core.series Series": plain_ids,
        "polars.series.series Series": "save ids as plain lists, with series.to_list()",
        "torch._utils _rebuild_tensor_v2": "save factors as NumPy arrays in an npz file",
        "sklearn.pipeline Pipeline": ("save implicit's AlternatingLeastSquares itself, without scikit-learn objects"),
        "implicit.gpu.als BayesianPersonalizedRanking": "save what model.to_cpu() returns",
        "implicit.cpu.bpr BayesianPersonalizedRanking": (
            "AlternatingLeastSquares is the only implicit model that is supported"
        ),
        "implicit.lmf LogisticMatrixFactorization": (
            "AlternatingLeastSquares is the only implicit model that is supported"
        ),
        "scipy.sparse._lil lil_matrix": "save sparse_matrix.tocsr()",
        "numpy.random._philox Philox": "set model.random_state = None before saving",
        "__main__ Recommender": "save the dict itself, not an object of a class of your own",
    }
    return {
        name: _unsafe(whole(pairs({"user_id_map": found(*name.split())})), name.replace(" ", "."), what, "user_id_map")
        for name, what in advice.items()
    }
