//! `/proc/self/mountinfo` and `/proc/<pid>/cgroup`, line by line: one that makes no sense says
//! nothing, and never hides the others. Anybody may mount a file system at a name that is no text.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountLine {
    /// What of it is mounted there.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// `cgroup2`, `ext4`, `nfs`.
    pub(crate) fs_type: String,
    /// As the file system itself names them, values left out.
    pub(crate) super_options: Vec<String>,
}

/// One hierarchy's line of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// 0 is version 2.
    pub(crate) hierarchy: u32,
    pub(crate) controllers: Vec<String>,
    pub(crate) path: String,
}

/// Every mount that makes sense.
pub(crate) fn mounts(text: &[u8]) -> impl Iterator<Item = MountLine> {
    lines(text).filter_map(MountLine::parse)
}

/// Every membership that makes sense.
pub(crate) fn memberships(text: &[u8]) -> impl Iterator<Item = Membership> {
    lines(text).filter_map(Membership::parse)
}

/// Lines that are whole.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
}

// === impl MountLine ===

impl MountLine {
    /// Fields as in proc_pid_mountinfo(5): any number of optional ones end at a lone dash.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = unescaped(fields.nth(3)?)?;
        let mount_point = unescaped(fields.next()?)?;
        let _options = fields.next()?;
        fields.find(|field| *field == b"-")?;
        let fs_type = std::str::from_utf8(fields.next()?).ok()?.to_owned();
        let super_options = fields
            .nth(1)?
            .split(|&byte| byte == b',')
            .filter_map(|option| {
                let name = option.split(|&byte| byte == b'=').next()?;
                Some(std::str::from_utf8(name).ok()?.to_owned())
            })
            .collect();
        Some(Self {
            root,
            mount_point,
            fs_type,
            super_options,
        })
    }
}

/// Blanks, tabs, line ends and backslashes stand as three octal digits.
fn unescaped(field: &[u8]) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..3)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        rest = after.get(3..)?;
    }
    bytes
        .starts_with(b"/")
        .then(|| PathBuf::from(OsString::from_vec(bytes)))
}

// === impl Membership ===

impl Membership {
    /// `hierarchy:controllers:path`, where the path may hold colons.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.splitn(3, ':');
        let hierarchy = fields.next()?.parse().ok()?;
        let controllers = fields.next()?.split(',').filter(|name| !name.is_empty());
        let controllers = controllers.map(str::to_owned).collect();
        let path = fields.next()?.to_owned();
        path.starts_with('/').then_some(Self {
            hierarchy,
            controllers,
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::ffi::OsStrExt, path::Path};

    use super::*;

    #[test]
    fn one_line_without_sense_hides_no_other() {
        let text = [
            &b"22 1 0:5 / /home/\xff\xfe rw - fuse.evil evil rw\n"[..],
            b"23 1 0:6 / /mnt/a\\040b\\134c\\012d rw,relatime master:1 shared:2 - ext4 /dev/sda1 rw\n",
            b"24 1 0:7 / /bad\\9 rw - ext4 x rw\n",
            b"25 1 0:8 / /bad\\04 rw - ext4 x rw\n",
            b"26 nonsense\n\n - - - \n",
            b"27 1 0:9 /hub /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory,name=x\n",
            b"28 1 0:9 / /sys/fs/cgroup/cut rw shared:5 - cgroup2 cgroup2 r",
        ]
        .concat();
        let mounts: Vec<MountLine> = mounts(&text).collect();
        assert_eq!(mounts.len(), 3, "{mounts:?}");
        assert_eq!(
            mounts[0].mount_point.as_os_str().as_bytes(),
            b"/home/\xff\xfe"
        );
        assert_eq!(mounts[1].mount_point, Path::new("/mnt/a b\\c\nd"));
        assert_eq!(mounts[1].fs_type, "ext4");
        assert_eq!(mounts[2].root, Path::new("/hub"));
        assert_eq!(mounts[2].super_options, ["rw", "memory", "name"]);
    }

    #[test]
    fn a_membership_may_hold_colons_and_blanks_and_a_bad_one_hides_no_other() {
        let text = b"12:name=\xff:/x\n4:cpu,cpuacct:/a:b c (deleted)\nx:y:/\n3:memory\n0::relative\n0::/hub/../jo\n1::/cut";
        let memberships: Vec<Membership> = memberships(text).collect();
        assert_eq!(memberships.len(), 2, "{memberships:?}");
        assert_eq!(memberships[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(memberships[0].path, "/a:b c (deleted)");
        assert_eq!(
            (memberships[1].hierarchy, memberships[1].path.as_str()),
            (0, "/hub/../jo")
        );
    }
}
