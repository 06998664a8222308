"""The artifact store: bytes under immutable keys, shared by the api and all workers."""

from shared.storage.base import Storage
from shared.storage.folder import FolderStorage

__all__ = ["FolderStorage", "Storage", "open_storage"]


def open_storage(url: str) -> Storage:
    """The store behind `url`: a folder's path or `file://` URL."""
    return FolderStorage.from_url(url)
