//! On which file system a path is, found without touching a file system that may not answer.
//!
//! Every part of the path is looked up in the mount table before anything is asked of it, and
//! links are followed here, not by the kernel: a link on a local disk may lead to a dead server.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

use nix::libc;

/// Links followed on the way: the kernel's own bound.
const LINKS_MAX: usize = 40;

/// File systems that answer from memory or from a disk of this machine. What is not named here
/// may be a server's, or a process' of the user, which may never answer.
const LOCAL: [&str; 22] = [
    "aufs", "bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs",
    "iso9660", "jfs", "nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs",
    "tmpfs", "xfs", "zfs",
];

/// Where a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A file system that answers.
    Local {
        path: PathBuf,
        /// What it is mounted from, where that is a device.
        device: Option<&'a Path>,
    },
    /// A file system that may hang, with the rest of the path as it was.
    Remote { path: PathBuf },
}

/// The mount table of one namespace.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    at: PathBuf,
    file_system: String,
    source: PathBuf,
}

// === impl Mounts ===

impl Mounts {
    /// From the text of `mountinfo`; a line that cannot be read is left out.
    pub(super) fn parse(text: &[u8]) -> Self {
        let lines = text.split(|&byte| byte == b'\n');
        Self(lines.filter_map(Mount::parse).collect())
    }

    /// Where `path` leads to; `None` when it leads nowhere or cannot be followed. Only links on
    /// local file systems are read.
    pub(super) fn place(
        &self,
        path: &Path,
        read_link: impl Fn(&Path) -> io::Result<PathBuf>,
    ) -> Option<Place<'_>> {
        let mut ahead: VecDeque<OsString> = parts(path).collect();
        let mut at = PathBuf::from("/");
        let mut mount = self.over(&at)?;
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if !mount.is_local() {
                ahead.push_front(part);
                break;
            }
            if part == ".." {
                at.pop();
                mount = self.over(&at)?;
                continue;
            }
            let next = at.join(&part);
            let over = self.over(&next)?;
            if !over.is_local() {
                (at, mount) = (next, over);
                break;
            }
            match read_link(&next) {
                Ok(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                        mount = self.over(&at)?;
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(part);
                    }
                }
                // No link.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    (at, mount) = (next, over);
                }
                Err(_) => return None,
            }
        }
        at.extend(ahead);
        Some(match mount.is_local() {
            true => Place::Local {
                path: at,
                device: mount.source.starts_with("/dev").then_some(&*mount.source),
            },
            false => Place::Remote { path: at },
        })
    }

    /// The mount that a path without links is on: the deepest, and of several at one place the
    /// last, which covers the others.
    fn over(&self, path: &Path) -> Option<&Mount> {
        let on = self.0.iter().filter(|mount| path.starts_with(&mount.at));
        on.max_by_key(|mount| mount.at.components().count())
    }
}

// === impl Mount ===

impl Mount {
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let at = plain(fields.nth(4)?);
        let mut kind = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Self {
            at: at.into(),
            file_system: String::from_utf8_lossy(kind.next()?).into_owned(),
            source: plain(kind.next()?).into(),
        })
    }

    fn is_local(&self) -> bool {
        LOCAL.contains(&self.file_system.as_str())
    }
}

/// The parts of a path, `..` among them.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\ooo`.
fn plain(field: &[u8]) -> OsString {
    let octal = |digits: &[u8]| match digits {
        [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
        }
        _ => None,
    };
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| octal(after.get(..3)?)).flatten();
        match (escaped, after.get(3..)) {
            (Some(escaped), Some(after)) => {
                bytes.push(escaped);
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An HPC node, a z2jh pod and a workstation in one.
    const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 27 0:40 / /tmp rw shared:3 master:1 - tmpfs tmpfs rw
40 27 0:44 / /home rw,relatime shared:5 - nfs4 nas.example.org:/export/home rw,vers=4.2,hard
41 27 0:45 / /home/local rw - xfs /dev/mapper/vg-home rw,usrquota
42 27 0:46 / /net rw - autofs auto.net rw,fd=7
43 27 0:47 / /mnt/with\\040blank\\134 rw - fuse.sshfs jo@host: rw
44 27 0:48 / /data rw - ext4 /dev/sdb rw
45 27 0:49 / /data rw - lustre 10.0.0.1@tcp:/fs rw
short line
";

    fn links(path: &Path) -> io::Result<PathBuf> {
        let target = match path.to_str().unwrap() {
            "/tmp/jo" => "/home/jo",
            "/work" => "tmp/../data/jo",
            "/loop" => "/loop",
            "/tmp/here" => "there/x",
            "/gone" => return Err(io::ErrorKind::NotFound.into()),
            path if path.starts_with("/home/jo") || path.starts_with("/data") => {
                panic!("{path} is touched")
            }
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        Ok(target.into())
    }

    #[test]
    fn a_path_is_followed_as_far_as_its_file_systems_answer() {
        let mounts = Mounts::parse(TABLE);
        let place = |path: &str| mounts.place(Path::new(path), links);
        let remote = |path: &str| Some(Place::Remote { path: path.into() });
        let local = |path: &str, device: Option<&'static str>| {
            Some(Place::Local {
                path: path.into(),
                device: device.map(Path::new),
            })
        };
        assert_eq!(place("/root"), local("/root", Some("/dev/vda")));
        assert_eq!(place("/home/jo/../x"), remote("/home/jo/../x"));
        assert_eq!(
            place("/home/local/jo"),
            remote("/home/local/jo"),
            "through a server's folder"
        );
        assert_eq!(place("/tmp/jo/nb"), remote("/home/jo/nb"), "through a link");
        assert_eq!(place("/work/a"), remote("/data/jo/a"), "what covers counts");
        assert_eq!(place("/net/x"), remote("/net/x"));
        assert_eq!(place("/mnt/with blank\\/x"), remote("/mnt/with blank\\/x"));
        assert_eq!(place("/tmp/here"), local("/tmp/there/x", None));
        assert_eq!(
            place("/tmp/../usr/./lib"),
            local("/usr/lib", Some("/dev/vda"))
        );
        assert_eq!(place("/loop"), None);
        assert_eq!(place("/gone/x"), None);
        assert_eq!(Mounts::parse(b"").place(Path::new("/x"), links), None);
    }
}
