"""Say which standard-library files a program loads, and compile them for the guest.

Run by the guest's own interpreter, on the machine that builds the image:
``collect_stdlib.py PROGRAM PREFIX OUT`` imports PROGRAM, then writes a compiled copy of each
module below PREFIX that came in by that into OUT, at the place that it has in the guest. Extension
modules are copied as they are.
"""

import importlib.util
import os
import py_compile
import shutil
import sys

# Loaded while an error is reported, or by name through a codec: not seen by importing alone.
LAZY = ("encodings.ascii", "encodings.latin_1", "encodings.utf_8", "traceback")


def collect(program: str, prefix: str, out: str) -> None:
    """Fill the folder *out* with what *program* loads from below *prefix*."""
    sys.path.insert(0, os.path.dirname(program))
    for name in (os.path.splitext(os.path.basename(program))[0], *LAZY):
        importlib.import_module(name)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not path or not path.startswith(prefix + os.sep):
            continue
        place = path[len(prefix) :]
        target = out + place
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path.endswith(".py"):
            py_compile.compile(
                path, target + "c", dfile=place, doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )  # fmt: skip
        else:
            shutil.copyfile(path, target)


if __name__ == "__main__":
    collect(*sys.argv[1:])
