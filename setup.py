"""What pyproject.toml cannot say of the build: a compiled module that may be missing."""

import sysconfig

from setuptools import Extension, setup

STABLE_ABI = (3, 11)
"""The oldest Python of the wheel; by its stable ABI every later one loads the module."""

major, minor = STABLE_ABI
# Free-threaded interpreters have no stable ABI: they get a wheel of their own, without the module.
one_wheel = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        # Where it cannot be built, reader.py and sender.py of that folder do the same in Python.
        Extension(
            "workloads.transport._native",
            ["workloads/transport/_native.c", "workloads/transport/_native_send.c"],
            define_macros=[("Py_LIMITED_API", f"0x{major:02X}{minor:02X}0000")],
            optional=True,
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": f"cp{major}{minor}"}} if one_wheel else {},
)
