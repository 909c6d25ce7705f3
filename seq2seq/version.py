"""The version of this program. The build reads it here, so that it is known wherever the program runs from."""

VERSION = "0.1.0"
