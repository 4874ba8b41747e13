"""Why a photo is not read, said where the file's name is not known."""

CURE_COPY = "Get an intact copy of the file"
# Notes that start so are of pixels that nobody vouches for: no strong verdict, no training photo.
MAY_BE_DAMAGED = "it may be damaged"


class Refusal(Exception):
    """Cause and cure of a PhotoError, raised where the file's name is not known."""
