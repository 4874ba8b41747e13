"""Why a photo is not read, said where the file's name is not known."""

CURE_COPY = "Get an intact copy of the file"


class Refusal(Exception):
    """Cause and cure of a PhotoError, raised where the file's name is not known."""
