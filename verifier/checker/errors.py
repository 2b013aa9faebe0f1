"""What the checker raises."""


class Rejected(Exception):
    """The certificate does not prove the statement; one line says where and why."""


class Unsupported(Exception):
    """The network or the property uses what the checker has no rule for; one line names it."""


class Unreadable(Exception):
    """The network or the property cannot be read; one line says what is wrong with it."""
