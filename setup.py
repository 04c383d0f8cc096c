"""The compiled modules. Everything else about the package is in pyproject.toml.

A module is compiled when a ``.pxd`` stands beside its ``.py`` (pure Python mode: the same
file runs uncompiled), and so is each ``.pyx``. Environment switches, for developers:

FASTMIRROR_DEBUG=1     no optimisation; symbols for a debugger
FASTMIRROR_TRACE=1     line tracing, for coverage and profilers
FASTMIRROR_SANITIZE=address,undefined     any list that the compiler's -fsanitize takes
FASTMIRROR_ANNOTATE=1  writes the HTML that shows where Python is called
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent


def switch(name: str) -> str:
    value = os.environ.get(f"FASTMIRROR_{name}", "")
    return "" if value == "0" else value


debug, trace, sanitize = switch("DEBUG"), switch("TRACE"), switch("SANITIZE")

compile_args = ["-O0", "-g"] if debug else ["-O2", "-g0", "-fno-plt"]
link_args: list[str] = []
macros: list[tuple[str, str | None]] = []
if sanitize:
    compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g"]
    link_args += [f"-fsanitize={sanitize}"]
if trace:
    macros += [("CYTHON_TRACE_NOGIL", "1")]

sources = sorted(
    path.relative_to(ROOT)
    for pxd in (ROOT / "fastmirror").rglob("*.pxd")
    for path in (pxd.with_suffix(".py"), pxd.with_suffix(".pyx"))
    if path.exists()
)

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                define_macros=macros,
            )
            for source in sources
        ],
        build_dir="build/cython",
        annotate=bool(switch("ANNOTATE")),
        nthreads=0,
        compiler_directives={
            "language_level": 3,
            "annotation_typing": False,  # the .pxd says what is a C type
            "binding": False,
            # Checks stay on: a None or an index out of bounds is an exception, never a crash.
            "nonecheck": True,
            "cdivision": True,
            "linetrace": bool(trace),
            "profile": bool(trace),
        },
    )
)
