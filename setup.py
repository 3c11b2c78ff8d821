"""Builds the scan kernel, where there is a compiler. Everything else about the package is in pyproject.toml."""

from __future__ import annotations

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


class BuildLibrary(build_ext):
    """Builds a library for ctypes: nothing in it is Python's, so one file serves every version."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return where ``service.model.scoring.kernel`` looks for it."""
        return fullname.replace(".", "/") + ".so"


class PlatformWheel(bdist_wheel):
    """Names the wheel after the platform alone."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return a tag for any Python 3 on this platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
    ext_modules=[
        Extension(
            "service.model.scoring._scan",
            ["service/model/scoring/scan.c"],
            # Contracted into one rounding, products and sums would differ from NumPy's.
            extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-g0"],
            libraries=["m"],
            optional=True,  # NumPy scans where no compiler built it
        )
    ],
)
