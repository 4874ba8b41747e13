"""The base of every exception of this project; it imports nothing."""


class ExifJaxError(Exception):
    """An expected failure; its message names the file, the cause and the cure.

    Commands catch it, print the message as one line and end with a non-zero exit code. Every
    other exception is a fault of the program and keeps its traceback.
    """
