"""Images' names, as both services compare them."""


def repository(image_name: str) -> str:
    """Return an image's name without its tag and digest."""
    name = image_name.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"  # a colon further left comes before a port
