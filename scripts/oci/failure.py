"""What ends the building of images, in words for whoever started it."""


class Failure(Exception):
    """Something that is missing or wrong, and what to do about it."""
