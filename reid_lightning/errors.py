"""The one exception that speaks to the user."""


class InputError(ValueError):
    """Something the user gave (a file, a folder, a config value) cannot be used.

    The message is one sentence that names the file, row or config key and says what to do. The command
    line prints it alone, without a traceback, and exits with a code that is not 0.
    """
