"""Which kind of file system holds a path: a disk of this machine, or one that others mount too."""

from pathlib import Path

import psutil

_OF_SERVERS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs")
_OF_CLUSTERS = ("lustre", "ceph", "gpfs", "beegfs", "glusterfs", "pvfs2", "wekafs")
# Object stores, sshfs and the like; these two are disks of the machine.
_FUSE, _FUSE_ON_DISKS = "fuse.", ("fuse.fuse-overlayfs", "fuse.ntfs-3g")


def network_file_system(path: Path) -> str | None:
    """Kind of the network file system that holds a path; None: none that is known as one."""
    kind = _kind(path.resolve())
    if kind in _OF_SERVERS + _OF_CLUSTERS or (
        kind.startswith(_FUSE) and kind not in _FUSE_ON_DISKS
    ):
        return kind
    return None


def _kind(path: Path) -> str:
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    return next((mounts[one] for one in (path, *path.parents) if one in mounts), "")
