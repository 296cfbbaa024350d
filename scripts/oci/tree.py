"""A tree of files that becomes one layer: the same files are the same bytes, whoever packs them and when."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

# The compression of layers. A level is a part of their digests.
GZIP_LEVEL = 6


@dataclass(frozen=True)
class Node:
    """One file, folder or link of a tree."""

    kind: bytes
    mode: int
    owner: int = 0
    content: "Path | bytes" = b""
    target: str = ""


@dataclass
class Tree:
    """Files by their absolute paths. Parents come by themselves."""

    # Seconds since 1970 that every file says.
    mtime: int = 0
    nodes: dict = field(default_factory=dict)

    def folder(self, path, mode=0o755, owner=0):
        self._put(path, Node(tarfile.DIRTYPE, mode, owner))

    def file(self, path, content, mode=0o644, owner=0):
        """A file with these bytes, or with those of a file of this machine."""
        self._put(path, Node(tarfile.REGTYPE, mode, owner, content.encode() if isinstance(content, str) else content))

    def link(self, path, target):
        self._put(path, Node(tarfile.SYMTYPE, 0o777, target=target))

    def _put(self, path, node):
        path = PurePosixPath(path)
        assert path.is_absolute() and ".." not in path.parts, path
        for parent in path.parents[:-1]:
            above = self.nodes.setdefault(str(parent), Node(tarfile.DIRTYPE, 0o755))
            if above.kind != tarfile.DIRTYPE:
                raise ValueError(f"{path} lies below {parent}, which is no folder")
        before = self.nodes.setdefault(str(path), node)
        if before != node and node.kind == before.kind == tarfile.DIRTYPE:
            self.nodes[str(path)] = node
        elif before != node:
            raise ValueError(f"two different files would be {path}")

    def without(self, other):
        """What this tree has and the other one has not: a layer above it."""
        return Tree(self.mtime, {path: node for path, node in self.nodes.items() if other.nodes.get(path) != node})

    def tar(self, out):
        """Writes the tree to a stream as a tar archive."""
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, node in sorted(self.nodes.items()):
                info = tarfile.TarInfo(path.lstrip("/"))
                info.type, info.mode, info.mtime = node.kind, node.mode, self.mtime
                info.uid = info.gid = node.owner
                info.linkname = node.target
                with opened(node.content) as content:
                    if node.kind == tarfile.REGTYPE:
                        info.size = content.seek(0, io.SEEK_END)
                        content.seek(0)
                    archive.addfile(info, content if node.kind == tarfile.REGTYPE else None)

    def layer(self, path):
        """Writes the tree as a compressed layer and returns the digest of what was compressed (`diff_id`)."""
        with Path(path).open("wb") as out:
            # No name and no time: gzip would keep both.
            with gzip.GzipFile("", "wb", GZIP_LEVEL, out, mtime=0) as packed:
                tee = Tee(packed)
                self.tar(tee)
        return tee.digest()


class Tee:
    """Passes on what is written, and knows its digest."""

    def __init__(self, out):
        self._out, self._sum, self._at = out, hashlib.sha256(), 0

    def write(self, data):
        self._sum.update(data)
        self._at += len(data)
        return self._out.write(data)

    def tell(self):
        return self._at

    def digest(self):
        return f"sha256:{self._sum.hexdigest()}"


def opened(content):
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
