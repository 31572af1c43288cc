"""This machine: processes, ports, devices, files, secrets."""
