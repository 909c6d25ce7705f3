"""Code that several test files share. Each module is imported by name (``from support.clock import Clock``)."""
