"""Makes what each host starts from: Debian as its installer leaves a server, with SSH by key alone.

`python -m tests.hosts.image RELEASE DIRECTORY` makes it there unless it is there already, and prints its path.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.hosts.network import OUTSIDE
from tests.hosts.packages import MirrorError, mirrors

RELEASES = ("bookworm", "trixie")
USER = "admin"
"""Who logs in, as on images of cloud providers: with a key, and root by sudo."""

# What an installer adds to Debian's base.
_PACKAGES = (
    "ca-certificates",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "python3",
    "sudo",
    "systemd-timesyncd",
)

_BOOT = f"""#!/bin/sh
# Becomes a server's init inside a container, which gets here as AUTHORIZED_KEY who may log in.
set -eu
# What the engine has laid over a server's own files, and its rules for names.
umount /etc/hosts /etc/hostname /etc/resolv.conf
nft flush ruleset
# A server sets what the kernel does with its own network; the rest is the machine's.
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
# systemd hands units their credentials in mounts that it then has to see itself.
mount --make-rshared /
if [ ! -s /etc/hostname ]; then
    hostname >/etc/hostname
    printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$(hostname)" >/etc/hosts
    ssh-keygen -q -A
    install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
    printf '%s\\n' "$AUTHORIZED_KEY" >/home/{USER}/.ssh/authorized_keys
    chown {USER}: /home/{USER}/.ssh/authorized_keys
fi
unset AUTHORIZED_KEY
exec /sbin/init
"""

_COMMANDS = f"""
set -eu
useradd --create-home --shell /bin/bash {USER}
chmod 440 /etc/sudoers.d/admin
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/cache/apt/archives/*.deb
: >/etc/machine-id
: >/etc/hostname
chmod 755 /usr/local/sbin/boot
"""


def path_of(release: str, directory: Path) -> Path:
    """Where the image's file is kept: under another name when what goes into it changes."""
    recipe = repr((_PACKAGES, _files(release), _COMMANDS))
    return directory / f"{release}-{sha256(recipe.encode()).hexdigest()[:12]}.tar"


def make(release: str, tar: Path) -> None:
    """Make the image's file, from Debian's packages alone; needs root.

    Raises:
        MirrorError: apt names no mirror.
        subprocess.CalledProcessError: debootstrap failed; its output says why.
    """
    mirror = mirrors()["debian"]
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tar.parent, prefix="making-") as made:
        root, part = Path(made) / "root", Path(made) / "tar"
        include = f"--include={','.join(_PACKAGES)}"
        with (Path(made) / "log").open("w+") as log:
            command = ("debootstrap", include, release, str(root), mirror)
            try:
                subprocess.run(command, check=True, stdout=log, stderr=log)
            except subprocess.CalledProcessError:
                log.seek(0)
                print("".join(log.readlines()[-20:]), file=sys.stderr)
                raise
        for name, text in _files(release).items():
            (root / name).write_text(text)
        subprocess.run(["chroot", root, "sh", "-c", _COMMANDS], check=True)
        subprocess.run(["tar", "--numeric-owner", "-C", root, "-cf", part, "."], check=True)
        part.rename(tar)


def _files(release: str) -> dict[str, str]:
    sources = [
        f"deb http://{OUTSIDE}/debian {release} main",
        f"deb http://{OUTSIDE}/debian {release}-updates main",
        f"deb http://{OUTSIDE}/debian-security {release}-security main",
    ]
    return {
        "etc/apt/sources.list": "\n".join(sources) + "\n",
        "etc/sudoers.d/admin": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
        "etc/ssh/sshd_config.d/keys.conf": "PasswordAuthentication no\nPermitRootLogin no\n",
        # What a power cut loses is not what is tested; writing through would take minutes.
        "etc/dpkg/dpkg.cfg.d/unsafe-io": "force-unsafe-io\n",
        "usr/local/sbin/boot": _BOOT,
    }


def main() -> int:
    """Make one image; returns 1 when it cannot be made."""
    release, directory = sys.argv[1:]
    tar = path_of(release, Path(directory))
    if not tar.exists():
        print(f"Making {tar} from Debian's packages", file=sys.stderr)
        try:
            make(release, tar)
        except (MirrorError, subprocess.CalledProcessError) as error:
            print(f"image: {error}", file=sys.stderr)
            return 1
    print(tar)
    return 0


if __name__ == "__main__":
    sys.exit(main())
