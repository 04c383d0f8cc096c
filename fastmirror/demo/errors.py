"""The one way in which the demo fails: something that it expects does not hold."""


class UnmetError(Exception):
    """Says in one line which expectation failed, or what could not be started."""
