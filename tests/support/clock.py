"""A clock that a test moves, in place of the module ``time``."""


class Clock:
    """Advances by a moment whenever it is read."""

    def __init__(self, moment: float = 0.0) -> None:
        self.now, self.moment = 0.0, moment

    def monotonic(self) -> float:
        self.now += self.moment
        return self.now
