"""The version of fxsolve."""

VERSION = "0.1.0"
