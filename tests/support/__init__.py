"""What several test files share: each module is imported by name (``from support.clock import Clock``)."""
