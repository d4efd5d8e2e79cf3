"""A client of cyber-dojo's storer and runner.

>>> client = Client("127.0.0.1:4577", "127.0.0.1:4597")
"""

from cyber_dojo_client.channels import Access, Tls, open_aio_channel, open_channel
from cyber_dojo_client.client import AsyncClient, Client
from cyber_dojo_client.errors import (
    AvatarsTaken,
    CallerNotAllowed,
    CallerUnknown,
    CallFailed,
    DiskFull,
    ImageMissing,
    Incomplete,
    KataDamaged,
    KataExists,
    MalformedField,
    MessageTooLarge,
    NoSuchAvatar,
    NoSuchKata,
    NoSuchLight,
    QueueFull,
    RequestIdReused,
    StaleNumber,
    TimedOut,
    TooManyGuesses,
    Unreachable,
    refused,
)
from cyber_dojo_client.values import in_order, plain, text
from cyber_dojo_client.work import Pressed, pages

__all__ = [
    "Access",
    "AsyncClient",
    "AvatarsTaken",
    "CallFailed",
    "CallerNotAllowed",
    "CallerUnknown",
    "Client",
    "DiskFull",
    "ImageMissing",
    "Incomplete",
    "KataDamaged",
    "KataExists",
    "MalformedField",
    "MessageTooLarge",
    "NoSuchAvatar",
    "NoSuchKata",
    "NoSuchLight",
    "Pressed",
    "QueueFull",
    "RequestIdReused",
    "StaleNumber",
    "TimedOut",
    "Tls",
    "TooManyGuesses",
    "Unreachable",
    "in_order",
    "open_aio_channel",
    "open_channel",
    "pages",
    "plain",
    "refused",
    "text",
]
