"""hubmeter's collector: the program comes as a script; `culler` is for jupyterhub-idle-culler."""

__version__ = "0.1.0"
