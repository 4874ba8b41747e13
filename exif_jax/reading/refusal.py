"""Why a photo is not read, raised where the name of the file is not known."""

from exif_jax.io.errors import ExifJaxError

CURE_COPY = "Get an intact copy of the file"
# Notes that start so are about pixels that may not be the camera's: such a photo gets no strong
# verdict and is no training photo.
MAY_BE_DAMAGED = "it may be damaged"


class Refusal(ExifJaxError):
    """The cause and the cure of a PhotoError, raised where the file's name is not known."""

    def __init__(self, cause: str, cure: str):
        self.cause, self.cure = cause, cure
        super().__init__(cause, cure)
